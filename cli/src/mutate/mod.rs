//! `mutate`: what the webhook would change in manifests, without a cluster.
//!
//! ```text
//! read      files, folders, standard input -> bytes
//! documents bytes -> objects, and what makes no sense
//! policies  the policies and namespaces among them
//! review    object -> the plan of lameduck-core, with what the API server fills in (defaults), and the pod
//!           that comes of a template -> the same again
//! view      -> diffs, manifests, or a document
//! ```

mod args;
mod defaults;
mod documents;
mod policies;
mod read;
mod review;
mod template;
mod view;

pub use args::MutateArgs;
pub use documents::{Found, Problem, documents};
pub use policies::{World, policy};
pub use read::{Input, inputs};
pub use review::{Change, Reviewed, review};
pub use view::{Document, patched, text};

use lameduck_core::inject::Settings;

use crate::common::failure::{Exit, Failure, one_line};
use crate::common::screen::{Colours, tell};
use crate::common::words;

/// Reviews what the files hold.
///
/// # Errors
/// There is nothing to review, or the output cannot be written.
pub fn run(args: &MutateArgs, namespace: Option<&str>, colours: Colours) -> Result<Exit, Failure> {
    let inputs = inputs(&args.files, args.recursive)?;
    let document = reviewed(inputs, args, namespace)?;
    let screen = args.output.screen(colours);
    if args.patched {
        // Warnings do not belong between manifests.
        let warnings = document.objects.iter().flat_map(|reviewed| &reviewed.change.warnings);
        warnings.for_each(|warning| tell(&format_args!("Warning: {}", one_line(warning))));
        screen.print(&patched(&document)?)?;
    } else {
        screen.show(&document, text)?;
    }
    if !document.problems.is_empty() {
        for problem in &document.problems {
            tell(&format_args!("error: {}", one_line(&problem.to_string())));
        }
        let count = words::count(document.problems.len(), "document");
        return Err(Failure::usage(format!("{count} of the input could not be reviewed")));
    }
    let is_changed = document.objects.iter().any(Reviewed::is_changed);
    Ok(if args.exit_code && is_changed { Exit::Refused } else { Exit::Done })
}

/// What comes of the inputs. Pure.
///
/// # Errors
/// There is no object in them, and nothing wrong with them either.
pub fn reviewed(
    inputs: Vec<Input>,
    args: &MutateArgs,
    namespace: Option<&str>,
) -> Result<Document, Failure> {
    let mut all = Vec::new();
    let mut document = Document::default();
    let order: Vec<String> = inputs.iter().map(|input| input.file.clone()).collect();
    for Input { file, bytes } in inputs {
        match bytes {
            Ok(bytes) => {
                let (found, problems) = documents(&file, &bytes);
                all.extend(found);
                document.problems.extend(problems);
            }
            Err(message) => {
                document.problems.push(Problem { file, document: None, line: None, message });
            }
        }
    }
    if all.is_empty() && document.problems.is_empty() {
        return Err(Failure::usage("there is no object in the input"));
    }
    let namespace = namespace.unwrap_or("default").to_owned();
    let mut world = World::new(namespace, args.policy.clone());
    let settings = Settings {
        hold_image: args.hold_image.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    // All of it first: a policy may stand behind those who name it.
    let known = |found: &Found, done: Result<(), String>, problems: &mut Vec<Problem>| {
        if let Err(message) = done {
            let Found { file, document, .. } = found.clone();
            problems.push(Problem { file, document: Some(document), line: None, message });
        }
    };
    for found in &all {
        known(found, world.learn(&found.object), &mut document.problems);
    }
    for found in &all {
        let place = (&*found.file, found.document);
        let done = review(place, &found.object, &world, &settings)
            .map(|reviewed| document.objects.push(reviewed))
            .map_err(|message| format!("{}: {message}", subject(found)));
        known(found, done, &mut document.problems);
    }
    let place =
        |problem: &Problem| (order.iter().position(|file| *file == problem.file), problem.document);
    document.problems.sort_by_key(place);
    Ok(document)
}

fn subject(found: &Found) -> String {
    let kind = found.object["kind"].as_str().unwrap_or_default().to_ascii_lowercase();
    format!("{kind}/{}", found.object["metadata"]["name"].as_str().unwrap_or("(no name)"))
}
