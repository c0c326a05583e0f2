//! Files and functions that are too long.

use syn::{Block, ImplItemFn, ItemFn, Signature, TraitItemFn, spanned::Spanned, visit::Visit};

use super::{Finding, Source};

const FILE: usize = 500;
const FUNCTION: usize = 60;

/// Files of Rust and their functions, `sdk/` excepted.
pub fn check(source: &Source) -> Vec<Finding> {
    let Some(syntax) = source.syntax.as_ref().filter(|_| !source.is_kit()) else { return Vec::new() };
    let mut functions = Functions { source, findings: Vec::new() };
    functions.visit_file(syntax);
    let lines = source.text.lines().count();
    if lines > FILE {
        functions.findings.push(Finding::new(source, FILE + 1, format!("the file has {lines} lines, more than {FILE}")));
    }
    functions.findings
}

struct Functions<'a> {
    source: &'a Source,
    findings: Vec<Finding>,
}

impl Functions<'_> {
    fn judge(&mut self, signature: &Signature, block: &Block) {
        let first = signature.span().start().line;
        let lines = block.span().end().line - first + 1;
        if lines > FUNCTION {
            let what = format!("the function {} has {lines} lines, more than {FUNCTION}", signature.ident);
            self.findings.push(Finding::new(self.source, first, what));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        self.judge(&function.sig, &function.block);
        syn::visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        self.judge(&function.sig, &function.block);
        syn::visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast TraitItemFn) {
        if let Some(block) = &function.default {
            self.judge(&function.sig, block);
        }
        syn::visit::visit_trait_item_fn(self, function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<Finding> {
        check(&Source::new("a.rs", text).unwrap())
    }

    fn function(lines: usize) -> String {
        format!("/// Documented\n/// at length.\nfn f() {{\n{}}}\n", "    g();\n".repeat(lines - 2))
    }

    #[test]
    fn a_function_of_sixty_lines_passes_and_one_more_does_not() {
        assert_eq!(found(&function(60)), []);
        assert_eq!(found(&function(61))[0].to_string(), "a.rs:3: the function f has 61 lines, more than 60");
    }

    #[test]
    fn methods_count_too() {
        assert_eq!(found(&format!("impl A {{\n{}}}\n", function(70))).len(), 1);
    }

    #[test]
    fn a_long_file_is_found() {
        assert_eq!(found(&"fn f() {}\n".repeat(500)), []);
        assert_eq!(found(&"fn f() {}\n".repeat(501))[0].line, 501);
    }
}
