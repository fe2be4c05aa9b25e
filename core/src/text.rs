//! Errors as text for people.

use std::error::Error;

/// An error with what caused it, joined by `: `.
///
/// Some libraries say their source in their own text: what was said already is not said again.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{words}")]
    struct Wrapped {
        words: &'static str,
        source: Option<Box<Wrapped>>,
    }

    fn wrapped<const N: usize>(words: [&'static str; N]) -> Wrapped {
        let [outer, causes @ ..] = &words[..] else { unreachable!("a test gives words") };
        let inner = causes
            .iter()
            .rev()
            .fold(None, |source, words| Some(Box::new(Wrapped { words, source })));
        Wrapped { words: outer, source: inner }
    }

    #[test]
    fn each_cause_is_said_once() {
        assert_eq!(chain(&wrapped(["no answer"])), "no answer");
        assert_eq!(
            chain(&wrapped(["no answer", "refused", "errno 111"])),
            "no answer: refused: errno 111"
        );
        assert_eq!(chain(&wrapped(["no answer: refused", "refused"])), "no answer: refused");
    }
}
