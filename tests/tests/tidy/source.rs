//! Rules about Rust source, by its syntax.

use syn::{
    Attribute, Block, ImplItemFn, ItemFn, ItemMod, Path, Signature, TraitItemFn, UseTree,
    spanned::Spanned as _, visit::Visit,
};

/// Lines from a function's `fn` to its closing brace.
const LONGEST_FUNCTION: usize = 70;

/// Modules of std that only some folders may use outside of tests.
const DOORS: [(&str, &[&str]); 1] = [("env", &["crates/cli/", "tests/", "xtask/"])];

/// Folders of crates without I/O, and what they must not use.
const PURE: [&str; 2] = ["crates/document/src/", "crates/oplog/src/"];
const IMPURE: [&str; 5] = ["env", "fs", "net", "process", "thread"];

/// Complaints about one file.
pub(crate) fn check(name: &str, text: &str) -> Vec<String> {
    let file = match syn::parse_file(text) {
        Ok(file) => file,
        Err(error) => return vec![format!("{name}: {error}")],
    };
    // Integration tests and examples are tests as a whole.
    let folders = ["/tests/", "/examples/", "benches/", "fuzz/", "sim/"];
    let testing = folders.iter().any(|f| name.contains(f)) || name.ends_with("tests.rs");
    let mut visitor = Visitor { name, testing, complaints: Vec::new() };
    visitor.visit_file(&file);
    visitor.complaints
}

struct Visitor<'a> {
    name: &'a str,
    testing: bool,
    complaints: Vec<String>,
}

impl Visitor<'_> {
    fn complain(&mut self, what: &str) {
        self.complaints.push(format!("{}: {what}", self.name));
    }

    fn function(&mut self, signature: &Signature, body: &Block) {
        let lines = body.span().end().line + 1 - signature.span().start().line;
        if lines > LONGEST_FUNCTION {
            let name = &signature.ident;
            self.complain(&format!("fn {name} has {lines} lines, at most {LONGEST_FUNCTION}"));
        }
    }

    /// A path into std, without `std` itself.
    fn std_module(&mut self, module: &str) {
        if self.testing {
            return;
        }
        for (door, folders) in DOORS {
            if module == door && !folders.iter().any(|folder| self.name.starts_with(folder)) {
                self.complain(&format!("std::{module} is for {}", folders.join(", ")));
            }
        }
        let pure = PURE.iter().any(|folder| self.name.starts_with(folder));
        if pure && IMPURE.contains(&module) && module != "env" {
            self.complain(&format!("std::{module} in a crate without I/O"));
        }
    }

    fn used(&mut self, tree: &UseTree) {
        match tree {
            UseTree::Path(path) => self.std_module(&path.ident.to_string()),
            UseTree::Name(name) => self.std_module(&name.ident.to_string()),
            UseTree::Rename(renamed) => self.std_module(&renamed.ident.to_string()),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.used(tree)),
            _ => {}
        }
    }
}

impl<'ast> Visit<'ast> for Visitor<'_> {
    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.function(&item.sig, &item.block);
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        self.function(&item.sig, &item.block);
        syn::visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast TraitItemFn) {
        if let Some(body) = &item.default {
            self.function(&item.sig, body);
        }
        syn::visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        let before = self.testing;
        self.testing |= item.attrs.iter().any(is_cfg_test);
        syn::visit::visit_item_mod(self, item);
        self.testing = before;
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if attribute.path().is_ident("ignore") {
            self.complain("an ignored test");
        }
        let bare = attribute.meta.require_path_only().is_ok();
        if attribute.path().is_ident("should_panic") && bare {
            self.complain("should_panic without saying what is expected");
        }
    }

    fn visit_path(&mut self, path: &'ast Path) {
        let mut segments = path.segments.iter();
        if segments.next().is_some_and(|first| first.ident == "std")
            && let Some(module) = segments.next()
        {
            self.std_module(&module.ident.to_string());
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_use_tree(&mut self, tree: &'ast UseTree) {
        if let UseTree::Path(path) = tree
            && path.ident == "std"
        {
            self.used(&path.tree);
        }
        syn::visit::visit_use_tree(self, tree);
    }
}

fn is_cfg_test(attribute: &Attribute) -> bool {
    let argument = |attribute: &Attribute| attribute.parse_args::<syn::Ident>().ok();
    attribute.path().is_ident("cfg") && argument(attribute).is_some_and(|what| what == "test")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_functions_are_found() {
        let long = |lines: usize| format!("impl X {{\nfn f() {{\n{}}}\n}}", "g();\n".repeat(lines));
        assert_eq!(check("a.rs", &long(68)), Vec::<String>::new());
        assert_eq!(check("a.rs", &long(69)), ["a.rs: fn f has 71 lines, at most 70"]);
    }

    #[test]
    fn tests_that_do_not_test_are_found() {
        let bad = "#[test]\n#[ignore]\nfn a() {}\n#[test]\n#[should_panic]\nfn b() {}";
        let complaints = check("a.rs", bad);
        assert_eq!(complaints.len(), 2, "{complaints:?}");
        let good = "#[test]\n#[should_panic(expected = \"x\")]\nfn b() {}";
        assert_eq!(check("a.rs", good), Vec::<String>::new());
    }

    #[test]
    fn the_environment_is_for_the_command_line() {
        for bad in ["use std::{env, fs};", "use std::env::var;", "fn f() { std::env::var(\"A\"); }"]
        {
            assert_eq!(check("crates/tree/src/a.rs", bad).len(), 1, "{bad}");
            assert_eq!(check("crates/cli/src/a.rs", bad), Vec::<String>::new());
            let inside = format!("#[cfg(test)]\nmod tests {{ {bad} }}");
            assert_eq!(check("crates/tree/src/a.rs", &inside), Vec::<String>::new());
        }
        assert_eq!(check("crates/tree/src/a.rs", "use crate::env::Env;"), Vec::<String>::new());
    }

    #[test]
    fn pure_crates_touch_no_files() {
        let bad = "fn f() { let _ = std::fs::read(\"a\"); }";
        assert_eq!(check("crates/oplog/src/a.rs", bad).len(), 1);
        assert_eq!(check("crates/head/src/a.rs", bad), Vec::<String>::new());
    }

    #[test]
    fn what_is_no_rust_is_found() {
        assert_eq!(check("a.rs", "fn f( {").len(), 1);
    }
}
