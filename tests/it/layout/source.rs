//! Reads Rust source as far as the layout rules need it: which paths a file names, outside comments, texts and test
//! modules.
//!
//! Separate from the rules, which say what may be named where. Not a parser: inside an inline module `super` is read
//! as if it stood at the top of the file.

use std::fs;
use std::path::Path;

/// A source file.
#[derive(Debug)]
pub(super) struct SourceFile {
    /// Relative to the package, with `/`.
    pub(super) path: String,
    /// As it is.
    pub(super) text: String,
    /// The same lines with comments, texts and test items blanked.
    code: String,
    /// Modules in other files that exist in tests only.
    test_modules: Vec<String>,
}

/// A path that a file names, such as `crate::market::Quote`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NamedPath {
    pub(super) line: usize,
    /// From the root: `crate`, or the name of a crate. A name whose root is not told (a local module) stays as it is.
    pub(super) segments: Vec<String>,
}

impl SourceFile {
    pub(super) fn new(path: &str, text: &str) -> Self {
        let mut code: Vec<char> = without_comments_and_texts(text);
        let test_modules = blank_test_items(&mut code);
        let code = code.into_iter().collect();
        Self { path: path.to_owned(), text: text.to_owned(), code, test_modules }
    }

    /// Every file below `folder` of this package, without those that exist in tests only.
    pub(super) fn tree(folder: &str) -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut files = Vec::new();
        collect(root, &root.join(folder), &mut files);
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let in_tests: Vec<String> = files.iter().flat_map(Self::test_only).collect();
        files.retain(|file| !in_tests.iter().any(|test| is_at_or_below(&file.path, test)));
        files
    }

    /// Where the test modules of this file lie, without `.rs`.
    fn test_only(&self) -> Vec<String> {
        let folder = format!("src/{}", self.module().join("/"));
        self.test_modules.iter().map(|name| format!("{folder}/{name}").replace("//", "/")).collect()
    }

    /// Its module, from the root of the crate: `["exchange", "binance"]`.
    pub(super) fn module(&self) -> Vec<String> {
        let path = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let path = path.strip_suffix(".rs").unwrap_or(path);
        let mut module: Vec<String> = path.split('/').map(str::to_owned).collect();
        if module.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
            module.pop();
        }
        module
    }

    /// The first part of its module; empty for the root itself.
    pub(super) fn top(&self) -> String {
        self.module().first().cloned().unwrap_or_default()
    }

    /// Every path of more than one segment.
    pub(super) fn named_paths(&self) -> Vec<NamedPath> {
        let tokens = tokens(&self.code);
        let mut paths = Vec::new();
        let mut at = 0;
        while at < tokens.len() {
            let Token { line, text } = &tokens[at];
            let is_use = text == "use" && tokens.get(at + 1).is_some_and(|next| next.text != "<");
            if is_use {
                at = read_use_tree(&tokens, at + 1, &[], &mut paths);
            } else if is_name(text) {
                let mut segments = vec![text.clone()];
                while at + 2 < tokens.len() && tokens[at + 1].text == "::" && is_name(&tokens[at + 2].text) {
                    segments.push(tokens[at + 2].text.clone());
                    at += 2;
                }
                if segments.len() > 1 {
                    paths.push(NamedPath { line: *line, segments });
                }
                at += 1;
            } else {
                at += 1;
            }
        }
        paths.into_iter().map(|path| NamedPath { segments: self.resolved(path.segments), ..path }).collect()
    }

    /// Resolves `self`, `super` and the crate's own name.
    fn resolved(&self, segments: Vec<String>) -> Vec<String> {
        let mut base = self.module();
        let mut rest = segments.as_slice();
        match rest[0].as_str() {
            "ratebook" => return [&["crate".to_owned()], &rest[1..]].concat(),
            "self" | "super" => {}
            _ => return segments,
        }
        while let [first, others @ ..] = rest {
            match first.as_str() {
                "self" => {}
                "super" => {
                    base.pop();
                }
                _ => break,
            }
            rest = others;
        }
        [&["crate".to_owned()], base.as_slice(), rest].concat()
    }

    /// Lines of the code that contain `needle` as whole words.
    pub(super) fn lines_with(&self, needle: &str) -> Vec<usize> {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let stands_alone = |line: &str, at: usize| {
            let before = line[..at].chars().next_back();
            let after = line[at + needle.len()..].chars().next();
            let opens = needle.starts_with(is_word) && before.is_some_and(is_word);
            let closes = needle.ends_with(is_word) && after.is_some_and(is_word);
            !opens && !closes
        };
        let contains = |line: &str| line.match_indices(needle).any(|(at, _)| stands_alone(line, at));
        self.code.lines().enumerate().filter(|(_, line)| contains(line)).map(|(n, _)| n + 1).collect()
    }
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<SourceFile>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            collect(root, &path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let relative = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
            files.push(SourceFile::new(&relative, &fs::read_to_string(&path).unwrap()));
        }
    }
}

fn is_at_or_below(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

/// The text with comments and the insides of texts and characters as blanks; lines stay where they are.
fn without_comments_and_texts(text: &str) -> Vec<char> {
    let source: Vec<char> = text.chars().collect();
    let mut code = source.clone();
    let mut blank = |from: usize, to: usize| {
        code[from..to].iter_mut().filter(|c| **c != '\n').for_each(|c| *c = ' ');
    };
    let starts =
        |at: usize, word: &str| word.chars().enumerate().all(|(n, c)| source.get(at + n) == Some(&c));
    let mut at = 0;
    while at < source.len() {
        let begins_word = at == 0 || !(source[at - 1].is_alphanumeric() || source[at - 1] == '_');
        let end = if starts(at, "//") {
            (at..source.len()).find(|n| source[*n] == '\n').unwrap_or(source.len())
        } else if starts(at, "/*") {
            end_of_block_comment(&source, at)
        } else if begins_word && let Some(end) = end_of_raw_text(&source, at) {
            end
        } else if source[at] == '"' {
            end_of_text(&source, at, '"')
        } else if source[at] == '\'' && (starts(at + 1, "\\") || source.get(at + 2) == Some(&'\'')) {
            end_of_text(&source, at, '\'')
        } else {
            at += 1;
            continue;
        };
        blank(at, end);
        at = end;
    }
    code
}

fn end_of_block_comment(source: &[char], from: usize) -> usize {
    let (mut depth, mut at) = (0, from);
    while at + 1 < source.len() {
        match (source[at], source[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    source.len()
}

/// The end of `r"…"`, `br#"…"#` and their like; `None` if there is none here.
fn end_of_raw_text(source: &[char], from: usize) -> Option<usize> {
    let mut at = from;
    if matches!(source.get(at), Some('b' | 'c')) {
        at += 1;
    }
    if source.get(at) != Some(&'r') {
        return None;
    }
    at += 1;
    let hashes = source[at..].iter().take_while(|c| **c == '#').count();
    at += hashes;
    if source.get(at) != Some(&'"') {
        return None;
    }
    let closes =
        |n: &usize| source[*n] == '"' && source[n + 1..].iter().take_while(|c| **c == '#').count() >= hashes;
    Some((at + 1..source.len()).find(closes).map_or(source.len(), |quote| quote + 1 + hashes))
}

fn end_of_text(source: &[char], from: usize, quote: char) -> usize {
    let mut at = from + 1;
    while at < source.len() {
        match source[at] {
            '\\' => at += 2,
            c if c == quote => return at + 1,
            _ => at += 1,
        }
    }
    source.len()
}

/// Blanks every item under `#[cfg(test)]` or `#[cfg(all(test, …))]`, and gives the names of those that are modules in
/// other files.
fn blank_test_items(code: &mut [char]) -> Vec<String> {
    let mut modules = Vec::new();
    let mut at = 0;
    while at < code.len() {
        let Some(attribute) = test_attribute(&code[at..]) else {
            at += 1;
            continue;
        };
        let end = end_of_item(code, at + attribute);
        let item: String = code[at + attribute..end].iter().collect();
        if let Some((_, name)) = item.strip_suffix(';').and_then(|item| item.rsplit_once("mod ")) {
            modules.push(name.trim().to_owned());
        }
        code[at..end].iter_mut().filter(|c| **c != '\n').for_each(|c| *c = ' ');
        at = end;
    }
    modules
}

/// The length of the attribute that begins here, if it says that an item exists in tests only.
fn test_attribute(code: &[char]) -> Option<usize> {
    let begins = |word: &str| word.chars().enumerate().all(|(n, c)| code.get(n) == Some(&c));
    let is_one = begins("#[cfg(test)") || begins("#[cfg(all(test,");
    if is_one { code.iter().position(|c| *c == ']').map(|end| end + 1) } else { None }
}

/// Past the `;` or the last brace of the item that begins here.
fn end_of_item(code: &[char], from: usize) -> usize {
    let (mut braces, mut others) = (0, 0);
    for (at, c) in code.iter().enumerate().skip(from) {
        match c {
            '(' | '[' => others += 1,
            ')' | ']' => others -= 1,
            '{' => braces += 1,
            '}' => braces -= 1,
            _ => {}
        }
        let is_over = (*c == ';' && braces == 0 && others == 0) || (*c == '}' && braces == 0);
        if is_over {
            return at + 1;
        }
    }
    code.len()
}

struct Token {
    line: usize,
    text: String,
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Names, `::`, and single other characters.
fn tokens(code: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = if rest.starts_with("::") {
                2
            } else if first.is_alphanumeric() || first == '_' {
                rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
            } else {
                first.len_utf8()
            };
            tokens.push(Token { line: number + 1, text: rest[..length].to_owned() });
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

/// Reads one branch of a `use`, and gives the place behind it.
fn read_use_tree(tokens: &[Token], from: usize, prefix: &[String], paths: &mut Vec<NamedPath>) -> usize {
    let mut segments = prefix.to_vec();
    let mut at = from;
    let line = tokens.get(at).map_or(0, |token| token.line);
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            "::" => at += 1,
            "as" => at += 2,
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token.text != "}") {
                    at = read_use_tree(tokens, at, &segments, paths);
                    if tokens.get(at).is_some_and(|token| token.text == ",") {
                        at += 1;
                    }
                }
                return at + 1;
            }
            text if is_name(text) || text == "*" => {
                segments.push(text.to_owned());
                at += 1;
            }
            _ => break,
        }
    }
    paths.push(NamedPath { line, segments });
    // What is no path is stepped over, so that reading always ends.
    at.max(from + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(path: &str, text: &str) -> Vec<String> {
        SourceFile::new(path, text).named_paths().iter().map(|path| path.segments.join("::")).collect()
    }

    #[test]
    fn paths_are_read_from_uses_and_from_code() {
        for (path, text, expected) in [
            ("src/a.rs", "use crate::market::Quote;", vec!["crate::market::Quote"]),
            ("src/a.rs", "pub(crate) use actix::prelude::*;", vec!["actix::prelude::*"]),
            (
                "src/a.rs",
                "use crate::{\n    clock,\n    market::{self, Quote as Q},\n};",
                vec!["crate::clock", "crate::market::self", "crate::market::Quote"],
            ),
            ("src/a/b.rs", "use super::c::D;", vec!["crate::a::c::D"]),
            ("src/a/b.rs", "use super::super::c::D;", vec!["crate::c::D"]),
            ("src/a/mod.rs", "use super::c::D; use self::e::F;", vec!["crate::c::D", "crate::a::e::F"]),
            ("src/main.rs", "ratebook::cli::run()", vec!["crate::cli::run"]),
            ("src/a.rs", "let x = ::std::env::var(NAME);", vec!["std::env::var"]),
            ("src/a.rs", "fn f(x: awc::Client) -> Vec<tokio::Id> {}", vec!["awc::Client", "tokio::Id"]),
            ("src/a.rs", "Vec::<tokio::Id>::new()", vec!["tokio::Id"]),
            ("src/a.rs", "fn f() -> impl Copy + use<'_> {} awc::x()", vec!["awc::x"]),
        ] {
            assert_eq!(named(path, text), expected, "{text}");
        }
    }

    #[test]
    fn comments_texts_and_test_items_name_nothing() {
        for text in [
            "// awc::Client\n/// awc::Client\n",
            "/* awc::Client /* awc::Client */ awc::Client */",
            r#"let x = "awc::Client \" awc::Client";"#,
            "let x = r#\"awc::Client \" awc::Client\"#;",
            "let x = br\"awc::Client\";",
            "let x = '\"'; // awc::Client \"",
            "#[cfg(test)]\nmod tests {\n    use awc::Client;\n    fn f() { awc::x() }\n}",
            "#[cfg(test)]\nfn f(x: [u8; 3]) { awc::x() }",
            "#[cfg(test)]\nuse awc::{Client, error};",
            "#[cfg(all(test, feature = \"x\"))]\nmod tests { awc::x() }",
        ] {
            assert_eq!(named("src/a.rs", text), Vec::<String>::new(), "{text}");
        }
        for text in [
            "fn f<'a>(x: &'a awc::Client, y: char) { y == '\\'' }",
            "#[cfg(test)]\nmod tests { { } }\nawc::Client",
            "let number = \"\\\\\"; awc::Client",
        ] {
            assert_eq!(named("src/a.rs", text), ["awc::Client"], "{text}");
        }
    }

    #[test]
    fn modules_that_exist_in_tests_only_are_found() {
        let file = SourceFile::new("src/rate_book/mod.rs", "mod book;\n#[cfg(test)]\nmod tests;\nmod cross;");
        assert_eq!(file.test_only(), ["src/rate_book/tests"]);
        let file = SourceFile::new("src/lib.rs", "#[cfg(test)]\nmod fixtures;");
        assert_eq!(file.test_only(), ["src/fixtures"]);
        assert!(is_at_or_below("src/fixtures/x.rs", "src/fixtures"));
        assert!(!is_at_or_below("src/fixtures_of_mine.rs", "src/fixtures"));
    }
}
