//! Text of others, fit for one line of a log, an Event or a condition.

use crate::credentials::Credentials;

/// Longest text of a server that is passed on: a condition's message should stay readable.
const TEXT_MAX_CHARS: usize = 300;

/// `text` on one line, at most [`TEXT_MAX_CHARS`] long.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::new();
    let mut length = 0;
    for word in text.split(|c: char| c.is_control() || c.is_whitespace()) {
        if word.is_empty() {
            continue;
        }
        if length == TEXT_MAX_CHARS {
            line.push('…');
            return line;
        }
        if length > 0 {
            line.push(' ');
            length += 1;
        }
        for c in word.chars() {
            if length == TEXT_MAX_CHARS {
                line.push('…');
                return line;
            }
            line.push(c);
            length += 1;
        }
    }
    line
}

/// [`one_line`], without what is secret in `credentials`: a server may say back what it was sent.
pub(crate) fn one_line_without(text: &str, credentials: &Credentials) -> String {
    one_line(&credentials.strike_out(text))
}

/// An error and what caused it, joined by `: `, on one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        // Some libraries repeat their source in their own text.
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        source = cause.source();
    }
    one_line(&line)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_comes_is_one_bounded_line(text in any::<String>()) {
            let line = one_line(&text);
            prop_assert!(!line.chars().any(char::is_control));
            prop_assert!(line.chars().count() <= TEXT_MAX_CHARS + 1);
        }
    }

    #[test]
    fn words_stay_apart() {
        assert_eq!(one_line(" LB not\r\n\texist. "), "LB not exist.");
        assert!(one_line(&"a".repeat(1000)).ends_with("a…"));
    }

    #[test]
    fn the_bound_may_fall_between_two_words() {
        for length in TEXT_MAX_CHARS - 2..TEXT_MAX_CHARS + 2 {
            let line = one_line(&format!("{} {}", "a".repeat(length), "b".repeat(1000)));
            assert!(line.chars().count() <= TEXT_MAX_CHARS + 1 && line.ends_with('…'), "{line}");
        }
    }
}
