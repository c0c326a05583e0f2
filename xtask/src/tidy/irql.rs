//! Functions that run in the kernel and do not say at which IRQL.
//!
//! An `# IRQL` section is looked for in the function's documentation, in that of its impl or trait, and in the `//!` lines of its
//! module. A trait's method is documented once, in the trait.

use std::collections::BTreeSet;

use syn::{Attribute, ImplItemFn, ItemFn, ItemImpl, ItemMod, ItemTrait, Signature, TraitItemFn, visit::Visit};

use super::{
    Finding, Source,
    sources::{documentation, is_test},
};

/// Where code is that runs in the kernel.
const KERNEL: &[&str] =
    &["crates/wsk/src/", "crates/wsk-lifecycle/src/", "crates/latency-histogram/src/", "crates/service-limits/src/", "src/", "tests/exercise/src/"];

/// The kernel's sources, with the traits that they document among each other.
pub fn check(sources: &[Source]) -> Vec<Finding> {
    let kernel: Vec<_> = sources.iter().filter(|source| KERNEL.iter().any(|folder| source.path.starts_with(folder))).collect();
    let mut traits = Traits(BTreeSet::new());
    kernel.iter().filter_map(|source| source.syntax.as_ref()).for_each(|syntax| traits.visit_file(syntax));
    kernel.iter().flat_map(|source| check_file(source, &traits.0)).collect()
}

fn check_file(source: &Source, traits: &BTreeSet<String>) -> Vec<Finding> {
    let Some(syntax) = source.syntax.as_ref().filter(|syntax| !says_irql(&syntax.attrs)) else { return Vec::new() };
    let mut functions = Functions { source, traits, findings: Vec::new() };
    functions.visit_file(syntax);
    functions.findings
}

fn says_irql(attributes: &[Attribute]) -> bool {
    documentation(attributes).lines().any(|line| line.trim() == "# IRQL")
}

/// Finds the traits of which every method says its IRQL.
struct Traits(BTreeSet<String>);

impl<'ast> Visit<'ast> for Traits {
    fn visit_item_trait(&mut self, item: &'ast ItemTrait) {
        let mut methods = item.items.iter().filter_map(|item| match item {
            syn::TraitItem::Fn(method) => Some(method),
            _ => None,
        });
        if says_irql(&item.attrs) || methods.all(|method| says_irql(&method.attrs)) {
            self.0.insert(item.ident.to_string());
        }
    }
}

struct Functions<'a> {
    source: &'a Source,
    traits: &'a BTreeSet<String>,
    findings: Vec<Finding>,
}

impl Functions<'_> {
    fn judge(&mut self, attributes: &[Attribute], signature: &Signature) {
        if !says_irql(attributes) && !is_test(attributes) {
            let what = format!("the function {} does not say at which IRQL it runs (`# IRQL`)", signature.ident);
            self.findings.push(Finding::new(self.source, signature.ident.span().start().line, what));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if !says_irql(&module.attrs) && !is_test(&module.attrs) {
            syn::visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_trait(&mut self, item: &'ast ItemTrait) {
        if !says_irql(&item.attrs) {
            syn::visit::visit_item_trait(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        let implemented = item.trait_.as_ref().and_then(|(path, _)| path.segments.last());
        let documented = implemented.is_some_and(|name| self.traits.contains(&name.ident.to_string()));
        if !documented && !says_irql(&item.attrs) {
            syn::visit::visit_item_impl(self, item);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        self.judge(&function.attrs, &function.sig);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        self.judge(&function.attrs, &function.sig);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast TraitItemFn) {
        self.judge(&function.attrs, &function.sig);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &str, text: &str) -> Vec<String> {
        let findings = check(&[Source::new(path, text).unwrap()]);
        findings.iter().map(|finding| finding.what.split(' ').nth(2).unwrap().to_owned()).collect()
    }

    #[test]
    fn silent_functions_are_found_also_const_ones() {
        let text = "fn a() {}\n/// # IRQL\n/// Any\nfn b() {}\nimpl A {\n    const fn c() {}\n}\nmod m {\n    fn d() {}\n}\n";
        assert_eq!(names("src/a.rs", text), ["a", "c", "d"]);
        assert_eq!(names("crates/wsk/src/raw/a.rs", "fn a() {}"), ["a"]);
    }

    #[test]
    fn a_module_speaks_for_its_functions() {
        assert!(names("src/a.rs", "//! # IRQL\n//! Any\nfn a() {}\nmod m {\n    fn b() {}\n}\n").is_empty());
    }

    #[test]
    fn a_trait_of_ours_speaks_for_its_methods_and_others_do_not() {
        let text = "trait T {\n    /// # IRQL\n    /// Any\n    fn a();\n}\nimpl T for A {\n    fn a() {}\n}\nimpl Drop for A {\n    fn drop(&mut self) {}\n}\n";
        assert_eq!(names("src/a.rs", text), ["drop"]);
    }

    #[test]
    fn tests_and_other_folders_do_not_run_in_the_kernel() {
        assert!(names("src/a.rs", "#[cfg(test)]\nmod tests {\n    fn a() {}\n}\n").is_empty());
        assert!(names("crates/ntbench/src/a.rs", "fn a() {}").is_empty());
    }
}
