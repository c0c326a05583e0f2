//! Unsafe blocks and impls without a SAFETY comment directly above them.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::{Arm, ExprUnsafe, FieldValue, ImplItem, Item, ItemImpl, Macro, Stmt, spanned::Spanned, visit::Visit};

use super::{Finding, Source, sources::first_line};

/// Every `unsafe { .. }` and `unsafe impl`, also in macros.
pub fn check(source: &Source) -> Vec<Finding> {
    let Some(syntax) = &source.syntax else { return Vec::new() };
    let mut places = Places { source, anchors: Vec::new(), findings: Vec::new() };
    places.visit_file(syntax);
    places.findings
}

struct Places<'a> {
    source: &'a Source,
    /// First lines of what is around: the comment may stand above the innermost statement, arm or item, or above anything in it.
    anchors: Vec<usize>,
    findings: Vec<Finding>,
}

impl Places<'_> {
    fn judge(&mut self, line: usize, what: &str) {
        let above = self.anchors.iter().copied().chain([line]);
        if !above.into_iter().any(|line| has_comment_above(self.source, line)) {
            self.findings.push(Finding::new(self.source, line, format!("{what} without a `// SAFETY:` comment directly above")));
        }
    }

    /// Visits what begins at `line`, apart from what is around it.
    fn within(&mut self, line: usize, visit: impl FnOnce(&mut Self)) {
        let outer = std::mem::replace(&mut self.anchors, vec![line]);
        visit(self);
        self.anchors = outer;
    }

    fn judge_tokens(&mut self, tokens: TokenStream) {
        let mut after_unsafe = None;
        for token in tokens {
            match (token, after_unsafe.take()) {
                (TokenTree::Ident(word), _) if word == "unsafe" => after_unsafe = Some(word.span().start().line),
                (TokenTree::Ident(word), Some(line)) if word == "impl" => self.judge(line, "an unsafe impl"),
                (TokenTree::Group(group), before) => {
                    if let Some(line) = before.filter(|_| group.delimiter() == Delimiter::Brace) {
                        self.judge(line, "an unsafe block");
                    }
                    self.judge_tokens(group.stream());
                }
                _ => {}
            }
        }
    }
}

/// Whether the comment that ends above this line, attributes left aside, says why something is safe.
fn has_comment_above(source: &Source, line: usize) -> bool {
    let above = (1..line).rev().map(|line| source.line(line).trim());
    let mut comment = above.take_while(|line| line.starts_with("//") || line.starts_with("#["));
    comment.any(|line| line.starts_with("// SAFETY:"))
}

impl<'ast> Visit<'ast> for Places<'_> {
    fn visit_expr_unsafe(&mut self, block: &'ast ExprUnsafe) {
        self.judge(block.unsafe_token.span.start().line, "an unsafe block");
        syn::visit::visit_expr_unsafe(self, block);
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        if let Some(word) = &item.unsafety {
            self.judge(word.span.start().line, "an unsafe impl");
        }
        syn::visit::visit_item_impl(self, item);
    }

    fn visit_item(&mut self, item: &'ast Item) {
        self.within(first_line(item), |places| syn::visit::visit_item(places, item));
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        self.within(first_line(item), |places| syn::visit::visit_impl_item(places, item));
    }

    fn visit_stmt(&mut self, statement: &'ast Stmt) {
        self.within(first_line(statement), |places| syn::visit::visit_stmt(places, statement));
    }

    fn visit_arm(&mut self, arm: &'ast Arm) {
        self.within(first_line(arm), |places| syn::visit::visit_arm(places, arm));
    }

    fn visit_field_value(&mut self, field: &'ast FieldValue) {
        self.anchors.push(field.span().start().line);
        syn::visit::visit_field_value(self, field);
        self.anchors.pop();
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        self.judge_tokens(call.tokens.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        check(&Source::new("a.rs", text).unwrap()).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_block_without_a_comment_is_found() {
        assert_eq!(lines("fn f() {\n    // A remark.\n    unsafe { g() }\n}\n"), [3]);
        assert_eq!(lines("fn f() {\n    // SAFETY: tried.\n    g();\n    unsafe { g() }\n}\n"), [4]);
        assert_eq!(lines("unsafe impl Send for A {}\n"), [1]);
    }

    #[test]
    fn a_comment_above_block_statement_or_arm_is_right() {
        assert!(lines("fn f() {\n    // SAFETY: so\n    // it is.\n    unsafe { g() }\n}\n").is_empty());
        assert!(lines("fn f() {\n    // SAFETY: so.\n    let a =\n        unsafe { g() };\n}\n").is_empty());
        assert!(
            lines("fn f() {\n    match a {\n        // SAFETY: so.\n        1 => unsafe { g() },\n        _ => {}\n    }\n}\n")
                .is_empty()
        );
        assert!(lines("// SAFETY: so.\n#[cfg(x)]\nunsafe impl Send for A {}\n").is_empty());
    }

    #[test]
    fn a_comment_above_one_arm_is_not_for_the_next() {
        let text = "fn f() {\n    match a {\n        // SAFETY: so.\n        1 => unsafe { g() },\n        _ => unsafe { h() },\n    }\n}\n";
        assert_eq!(lines(text), [5]);
    }

    #[test]
    fn macros_are_looked_into() {
        assert_eq!(lines("fn f() {\n    log!(\n        \"{}\",\n        unsafe { g() }\n    );\n}\n"), [4]);
        assert_eq!(lines("macro_rules! m {\n    () => {\n        unsafe { g() }\n    };\n}\n"), [3]);
    }
}
