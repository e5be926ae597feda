//! A Rust source file split into what the rules ask about: code, comments, string literals, and which lines are tests.
//!
//! This is a scanner, not a parser: it knows strings, raw strings, characters, lifetimes and nested comments, which is
//! what it takes for a rule about code not to be fooled by a comment, and the other way round.

use std::ops::RangeInclusive;

/// A piece of text and the line it starts on (from 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// The parts of one source file.
#[derive(Debug, Default)]
pub(crate) struct Source {
    /// The file's lines with comments and the insides of literals blanked out.
    pub(crate) code: Vec<String>,
    /// Comments, one piece per line, with their slashes.
    pub(crate) comments: Vec<Piece>,
    /// String literals, without quotes; escapes are left as written.
    pub(crate) literals: Vec<Piece>,
    /// Items under `#[cfg(test)]`.
    tests: Vec<RangeInclusive<usize>>,
}

impl Source {
    /// Splits `text`.
    pub(crate) fn new(text: &str) -> Self {
        let mut scanner = Scanner {
            chars: text.chars().collect(),
            at: 0,
            line: 1,
            code: String::new(),
            out: Self::default(),
        };
        scanner.scan();
        let Scanner { code, mut out, .. } = scanner;
        out.tests = test_items(&code);
        out.code = code.lines().map(str::to_owned).collect();
        out
    }

    /// Whether this line belongs to an item under `#[cfg(test)]`.
    pub(crate) fn is_test(&self, line: usize) -> bool {
        self.tests.iter().any(|lines| lines.contains(&line))
    }

    /// The lines of code, numbered from 1.
    pub(crate) fn numbered(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code
            .iter()
            .enumerate()
            .map(|(index, line)| (index + 1, line.as_str()))
    }
}

/// Whether `word` occurs in `line` as a whole: not as part of a longer identifier.
pub(crate) fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(is_name) && !after.is_some_and(is_name)
    })
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

struct Scanner {
    chars: Vec<char>,
    at: usize,
    line: usize,
    code: String,
    out: Source,
}

impl Scanner {
    fn scan(&mut self) {
        while let Some(c) = self.peek(0) {
            match (c, self.peek(1)) {
                ('/', Some('/')) => self.line_comment(),
                ('/', Some('*')) => self.block_comment(),
                ('"', _) => self.string(),
                ('\'', _) => self.quote(),
                _ if self.raw_hashes().is_some() => self.raw_string(),
                _ if is_name(c) => self.name(),
                _ => self.keep(),
            }
        }
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    /// Takes one character as code.
    fn keep(&mut self) {
        if let Some(c) = self.step() {
            self.code.push(c);
        }
    }

    /// Takes one character as something else; its place in the code stays blank, its line break stays.
    fn blank(&mut self) -> Option<char> {
        let c = self.step()?;
        self.code.push(if c == '\n' { '\n' } else { ' ' });
        Some(c)
    }

    fn step(&mut self) -> Option<char> {
        let c = self.peek(0)?;
        self.at += 1;
        self.line += usize::from(c == '\n');
        Some(c)
    }

    /// A whole identifier at once, so that the `r` of `for"` is never taken for a raw string's.
    fn name(&mut self) {
        while self.peek(0).is_some_and(is_name) {
            self.keep();
        }
    }

    fn line_comment(&mut self) {
        let (line, mut text) = (self.line, String::new());
        while self.peek(0).is_some_and(|c| c != '\n') {
            text.extend(self.blank());
        }
        self.out.comments.push(Piece { line, text });
    }

    fn block_comment(&mut self) {
        let (mut depth, mut line, mut text) = (0_usize, self.line, String::new());
        loop {
            let change = match (self.peek(0), self.peek(1)) {
                (Some('/'), Some('*')) => 1,
                (Some('*'), Some('/')) => -1,
                (None, _) => break,
                _ => 0,
            };
            if change != 0 {
                text.extend(self.blank());
                depth = depth.saturating_add_signed(change);
            }
            match self.blank() {
                Some('\n') => {
                    self.out.comments.push(Piece {
                        line,
                        text: std::mem::take(&mut text),
                    });
                    line = self.line;
                }
                other => text.extend(other),
            }
            if depth == 0 {
                break;
            }
        }
        self.out.comments.push(Piece { line, text });
    }

    fn string(&mut self) {
        let (line, mut text) = (self.line, String::new());
        self.keep();
        while let Some(c) = self.peek(0).filter(|c| *c != '"') {
            text.extend(self.blank());
            if c == '\\' {
                text.extend(self.blank());
            }
        }
        self.keep();
        self.out.literals.push(Piece { line, text });
    }

    /// A character literal, or the mark of a lifetime.
    fn quote(&mut self) {
        self.keep();
        match (self.peek(0), self.peek(1)) {
            (Some('\\'), _) => {
                self.blank();
                self.blank();
                while self.peek(0).is_some_and(|c| c != '\'') {
                    self.blank();
                }
                self.keep();
            }
            (Some(_), Some('\'')) => {
                self.blank();
                self.keep();
            }
            _ => {}
        }
    }

    /// The number of `#` when a raw string (`r"`, `br#"`, `cr##"`) starts here.
    fn raw_hashes(&self) -> Option<usize> {
        let prefix = match (self.peek(0)?, self.peek(1)) {
            ('r', _) => 1,
            ('b' | 'c', Some('r')) => 2,
            _ => return None,
        };
        let after = self.chars.get(self.at + prefix..).unwrap_or_default();
        let hashes = after.iter().take_while(|c| **c == '#').count();
        (self.peek(prefix + hashes) == Some('"')).then_some(hashes)
    }

    fn raw_string(&mut self) {
        let hashes = self.raw_hashes().unwrap_or_default();
        while self.peek(0).is_some_and(|c| c != '"') {
            self.keep();
        }
        self.keep();
        let (line, mut text) = (self.line, String::new());
        let closes = |s: &Self| (1..=hashes).all(|ahead| s.peek(ahead) == Some('#'));
        while let Some(c) = self.peek(0) {
            if c == '"' && closes(self) {
                break;
            }
            text.extend(self.blank());
        }
        for _ in 0..=hashes {
            self.keep();
        }
        self.out.literals.push(Piece { line, text });
    }
}

/// The lines of every item under a `cfg` that names `test` (and does not negate it).
fn test_items(code: &str) -> Vec<RangeInclusive<usize>> {
    let mut items = Vec::new();
    let mut at = 0;
    while let Some(found) = code[at..].find("#[cfg(") {
        let start = at + found;
        let attribute_end = code[start..].find(']').map_or(code.len(), |end| start + end + 1);
        let attribute = &code[start..attribute_end];
        at = attribute_end;
        if has_word(attribute, "test") && !attribute.contains("not(") {
            at = item_end(code, attribute_end);
            items.push(line_at(code, start)..=line_at(code, at));
        }
    }
    items
}

/// The end of the item that follows: its closing brace, or its semicolon when that comes before any brace.
fn item_end(code: &str, start: usize) -> usize {
    let mut depth = 0_usize;
    for (offset, c) in code[start..].char_indices() {
        match c {
            ';' if depth == 0 => return start + offset,
            '{' => depth += 1,
            '}' if depth <= 1 => return start + offset,
            '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

fn line_at(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literals(text: &str) -> Vec<String> {
        Source::new(text)
            .literals
            .into_iter()
            .map(|piece| piece.text)
            .collect()
    }

    #[test]
    fn tells_code_from_comments_and_literals() {
        let source = Source::new("let a = \"x // y\"; // \"z\" code\nlet b = 1; /* c /* d */ e */ f();\n");
        assert_eq!(source.code[0].trim_end(), "let a = \"      \";");
        let words: Vec<&str> = source.code[1].split_whitespace().collect();
        assert_eq!(
            words,
            ["let", "b", "=", "1;", "f();"],
            "a nested comment ends at its own end"
        );
        assert_eq!(
            source.comments[0],
            Piece {
                line: 1,
                text: "// \"z\" code".into()
            }
        );
        assert_eq!(
            source.literals,
            [Piece {
                line: 1,
                text: "x // y".into()
            }]
        );
    }

    #[test]
    fn knows_every_kind_of_string() {
        assert_eq!(literals(r#"f("a\"b", b"c", '"', "d")"#), [r#"a\"b"#, "c", "d"]);
        assert_eq!(
            literals("f(r\"a\\\", r#\"b\"c\"#, br##\"d\"#e\"##)"),
            ["a\\", "b\"c", "d\"#e"]
        );
        assert_eq!(
            literals("r#type.for\"x\""),
            ["x"],
            "a raw identifier is no raw string"
        );
        assert_eq!(literals("fn f<'a>(x: &'a str) -> char { '\\'' } \"y\""), ["y"]);
        assert_eq!(literals("'\\u{1F600}' \"y\""), ["y"]);
    }

    #[test]
    fn knows_which_lines_are_tests() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n  fn b() { if x {} }\n}\nfn c() {}\n#[cfg(test)]\nuse x;\nfn d() {}\n";
        let source = Source::new(text);
        let tests: Vec<usize> = (1..=9).filter(|line| source.is_test(*line)).collect();
        assert_eq!(tests, [2, 3, 4, 5, 7, 8]);
        assert!(!Source::new("#[cfg(not(test))]\nmod a {\n}\n").is_test(2));
        assert!(Source::new("#[cfg(all(test, feature = \"x\"))]\nmod a {\n}\n").is_test(2));
    }

    #[test]
    fn a_word_is_whole() {
        assert!(has_word("tokio::time::sleep(x)", "sleep"));
        assert!(!has_word("fn oversleep_s()", "sleep"));
        assert!(!has_word("asleep", "sleep"));
    }

    #[test]
    fn unfinished_text_ends_the_scan() {
        for text in ["\"abc", "/* abc", "r#\"abc", "'\\", "'", "#[cfg(test)]\nmod a {"] {
            Source::new(text);
        }
    }
}
