//! Which tests this run is about, as its arguments say.

/// libtest's options with a value in an argument of its own.
const WITH_VALUE: [&str; 6] =
    ["--color", "--format", "--logfile", "--shuffle-seed", "--test-threads", "-Z"];

/// The part of libtest's arguments that chooses tests. What it gets wrong costs time and nothing else: a test
/// that was not expected is played when it asks.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Filter {
    exact: bool,
    names: Vec<String>,
    skipped: Vec<String>,
}

impl Filter {
    /// Of the arguments of this process.
    pub(super) fn of_this_run() -> Self {
        Self::new(std::env::args().skip(1))
    }

    /// Of `arguments`, without the program's name.
    pub(super) fn new(arguments: impl IntoIterator<Item = String>) -> Self {
        let mut filter = Self::default();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            if argument == "--exact" {
                filter.exact = true;
            } else if argument == "--skip" {
                filter.skipped.extend(arguments.next());
            } else if let Some(name) = argument.strip_prefix("--skip=") {
                filter.skipped.push(name.to_owned());
            } else if WITH_VALUE.contains(&argument.as_str()) {
                arguments.next();
            } else if !argument.starts_with('-') {
                filter.names.push(argument);
            }
        }
        filter
    }

    /// Whether `test` runs.
    pub(super) fn runs(&self, test: &str) -> bool {
        let is = |name: &String| if self.exact { test == name } else { test.contains(name) };
        (self.names.is_empty() || self.names.iter().any(is)) && !self.skipped.iter().any(is)
    }
}

#[cfg(test)]
mod tests {
    use super::Filter;

    fn runs(arguments: &str, test: &str) -> bool {
        Filter::new(arguments.split_whitespace().map(str::to_owned)).runs(test)
    }

    #[test]
    fn tests_are_chosen_as_libtest_does() {
        let delete = "scenarios::delete";
        for arguments in [
            "",
            "scenarios::delete",
            "delete",
            "rollout scenarios::",
            "--exact scenarios::delete",
            "--test-threads 1 --nocapture",
            "--test-threads=1 -q delete",
            "--skip drain",
            "--exact --skip delete",
        ] {
            assert!(runs(arguments, delete), "{arguments}");
        }
        for arguments in [
            "rollout",
            "--exact delete",
            "--skip delete",
            "--skip=scenarios::",
            "scenarios:: --skip del",
        ] {
            assert!(!runs(arguments, delete), "{arguments}");
        }
    }
}
