//! Lameduck's own three images, from the checkout.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::archive::Image;
use super::{ImageFile, elf, write};
use crate::process::{cargo, last_lines};
use crate::progress::{Progress, Step};

/// The admission webhook.
pub const WEBHOOK: &str = "docker.io/lameduck/webhook:0.1.0";
/// The controller.
pub const CONTROLLER: &str = "docker.io/lameduck/controller:0.1.0";
/// The hold, which the webhook puts into pods.
pub const HOLD: &str = "docker.io/lameduck/hold:0.1.0";

/// Builds the three programs and their images in `directory`.
///
/// # Errors
/// Something does not compile, or the images cannot be written.
pub async fn all(directory: &Path, progress: &Progress) -> Result<Vec<ImageFile>> {
    let mut step = progress.step("building Lameduck's images");
    let mut programs = build(
        &["--release", "--package", "lameduck-webhook", "--package", "lameduck-controller"],
        None,
        &mut step,
    )
    .await?;
    programs.extend(build_hold(&mut step).await?);

    let mut images = Vec::new();
    for (name, program) in [
        (WEBHOOK, "lameduck-webhook"),
        (CONTROLLER, "lameduck-controller"),
        (HOLD, "lameduck-hold"),
    ] {
        let Some(path) =
            programs.iter().find(|path| path.file_name().is_some_and(|file| file == program))
        else {
            bail!("cargo built no program {program}: the image {name} cannot be made");
        };
        let place = format!("/{program}");
        let mut image = Image::new(name, &[&place]);
        elf::add_program(&mut image, path, &place, "".as_ref()).await?;
        images.push(write(&image, directory)?);
    }
    step.done("");
    Ok(images)
}

/// Builds the controller's program alone.
///
/// # Errors
/// It does not compile.
pub async fn controller(progress: &Progress) -> Result<PathBuf> {
    let mut step = progress.step("building the controller");
    let program = build(&["--release", "--package", "lameduck-controller"], None, &mut step)
        .await?
        .pop()
        .context("cargo built no controller")?;
    step.done("");
    Ok(program)
}

/// Builds the webhook's program alone.
///
/// # Errors
/// It does not compile.
pub async fn webhook(progress: &Progress) -> Result<PathBuf> {
    let mut step = progress.step("building the webhook");
    let program = build(&["--release", "--package", "lameduck-webhook"], None, &mut step)
        .await?
        .pop()
        .context("cargo built no webhook")?;
    step.done("");
    Ok(program)
}

/// Builds the hold's program alone.
///
/// # Errors
/// It does not compile.
pub async fn hold(progress: &Progress) -> Result<PathBuf> {
    let mut step = progress.step("building the hold");
    let program = build_hold(&mut step).await?.pop().context("cargo built no hold")?;
    step.done("");
    Ok(program)
}

/// Builds `kubectl-lameduck` as the tests are built, whose dependencies it shares.
///
/// # Errors
/// It does not compile.
pub async fn cli_of_tests(progress: &Progress) -> Result<PathBuf> {
    cli(&[], progress).await
}

/// Builds `kubectl-lameduck` as users get it.
///
/// # Errors
/// It does not compile.
pub async fn cli_of_users(progress: &Progress) -> Result<PathBuf> {
    cli(&["--release"], progress).await
}

async fn cli(profile: &[&str], progress: &Progress) -> Result<PathBuf> {
    let mut step = progress.step("building kubectl-lameduck");
    let arguments = [profile, &["--package", "lameduck-cli"]].concat();
    let program = build(&arguments, None, &mut step)
        .await?
        .pop()
        .context("cargo built no kubectl-lameduck")?;
    step.done("");
    Ok(program)
}

/// Static, so that it runs in images that have no libraries at all. The target
/// must be named: otherwise the flags would hit build scripts as well.
async fn build_hold(step: &mut Step) -> Result<Vec<PathBuf>> {
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let arguments = ["--profile", "hold", "--package", "lameduck-hold", "--target", &triple];
    build(&arguments, Some("-C target-feature=+crt-static -C relocation-model=pie"), step).await
}

/// The checkout that this lab was built from.
#[must_use]
pub fn workspace() -> PathBuf {
    let lab = Path::new(env!("CARGO_MANIFEST_DIR"));
    lab.parent().unwrap_or(lab).to_owned()
}

/// The one thing that matters in cargo's JSON messages.
#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    executable: Option<PathBuf>,
}

/// Runs `cargo build` and returns the programs that it built or found up to date.
async fn build(arguments: &[&str], flags: Option<&str>, step: &mut Step) -> Result<Vec<PathBuf>> {
    let mut cargo = cargo();
    cargo
        .args(["build", "--message-format", "json-render-diagnostics"])
        .args(arguments)
        .current_dir(workspace())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(flags) = flags {
        cargo.env("RUSTFLAGS", flags);
    }
    let mut child = cargo.spawn().context("cargo cannot be started")?;
    let (Some(messages), Some(errors)) = (child.stdout.take(), child.stderr.take()) else {
        bail!("cargo's output is not connected");
    };
    let said = async {
        let mut lines = BufReader::new(errors).lines();
        let mut said = String::new();
        while let Some(line) = lines.next_line().await? {
            step.message(line.trim());
            said.push_str(&line);
            said.push('\n');
        }
        Ok::<_, std::io::Error>(said)
    };
    let built = async {
        let mut lines = BufReader::new(messages).lines();
        let mut programs = Vec::new();
        while let Some(line) = lines.next_line().await? {
            // Other kinds of message have other shapes: they name no program.
            if let Ok(Message { executable: Some(program) }) = serde_json::from_str(&line) {
                programs.push(program);
            }
        }
        Ok::<_, std::io::Error>(programs)
    };
    let (said, programs) =
        tokio::try_join!(said, built).context("what cargo says cannot be read")?;
    let status = child.wait().await.context("cargo's end cannot be awaited")?;
    if !status.success() {
        bail!("cargo build {} failed ({status}):\n{}", arguments.join(" "), last_lines(&said, 60));
    }
    Ok(programs)
}
