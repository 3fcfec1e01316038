//! The texts that a template names in quotes: what it may look for in messages.

/// The literal texts of the code in a template's source; what stands outside of code is not among them.
pub(super) fn of(source: &str) -> Vec<String> {
    let mut literals = Vec::new();
    let mut rest = source;
    while let Some(start) = rest.find('{') {
        rest = &rest[start + 1..];
        let end = match rest.chars().next() {
            Some('#') => {
                rest = rest.find("#}").map_or("", |end| &rest[end..]);
                continue;
            }
            Some('{') => "}}",
            Some('%') => "%}",
            _ => continue,
        };
        rest = code(&rest[1..], end, &mut literals);
    }
    literals.sort_unstable();
    literals.dedup();
    literals
}

/// Takes the literals of a piece of code; what follows it.
fn code<'a>(mut rest: &'a str, end: &str, literals: &mut Vec<String>) -> &'a str {
    while let Some(next) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix(end) {
            return after;
        }
        rest = &rest[next.len_utf8()..];
        if matches!(next, '\'' | '"') {
            let (literal, after) = quoted(rest, next);
            literals.push(literal);
            rest = after;
        }
    }
    rest
}

/// A literal up to its closing quote, and what follows.
fn quoted(text: &str, quote: char) -> (String, &str) {
    let mut literal = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some('n') => literal.push('\n'),
                Some('t') => literal.push('\t'),
                Some('r') => literal.push('\r'),
                Some(other) => literal.push(other),
                None => {}
            },
            _ if character == quote => break,
            _ => literal.push(character),
        }
    }
    (literal, characters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_the_quoted_texts_of_code() {
        let source = "it's {{ a ~ '}}\\n' }} \"x\" {# 'no' #}{% if b == \"it's\" %}'y'{% endif %}{{ '";
        assert_eq!(of(source), ["", "it's", "}}\n"]);
        assert!(of("{{").is_empty() && of("{").is_empty() && of("{#").is_empty());
    }
}
