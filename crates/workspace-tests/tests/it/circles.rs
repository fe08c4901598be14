//! No circle of files within a crate: of two files at most one names the other.
//!
//! A module and the modules inside it are one room and may name each other: `grammar/mod.rs` holds
//! the struct, `grammar/session/mod.rs` a part of its methods. Between any other files of a crate the
//! imports have one direction. Re-exports are followed: `super::Packet` counts as a use of the file
//! that defines `Packet`. Code under `#[cfg(test)]` is not read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;

use crate::tree;

/// Path of a module within its crate: `["read", "pcap"]` for `crate::read::pcap`.
type Module = Vec<String>;

/// Modules of one crate with the paths that each of them names.
#[derive(Default)]
struct Imports {
    /// Paths from the crate's root that a module names, of its own or by `use`.
    named: BTreeMap<Module, BTreeSet<Module>>,
    /// Paths that a name of a module stands for by `use`.
    aliases: BTreeMap<(Module, String), Module>,
    /// Modules whose names are all visible in a module, by `use path::*`.
    globs: BTreeMap<Module, Vec<Module>>,
}

/// Returns the module that a file of `src` defines; `main.rs` and `lib.rs` define the root.
fn module_of(file: &Path, src: &Path) -> Module {
    let relative = file.strip_prefix(src).unwrap().with_extension("");
    let mut parts: Module =
        relative.components().map(|c| c.as_os_str().to_string_lossy().into_owned()).collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        parts.pop();
    }
    parts
}

/// Returns whether an item is compiled for tests alone.
fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes
        .iter()
        .any(|a| a.path().is_ident("cfg") && a.meta.to_token_stream().to_string().contains("test"))
}

/// Resolves the words of a path in `module`, or returns nothing for a path into another crate.
fn absolute(module: &Module, words: &[String]) -> Option<Module> {
    let mut at = module.clone();
    let mut rest = words.iter();
    match rest.next()?.as_str() {
        "crate" => at.clear(),
        "self" => {}
        "super" => drop(at.pop()),
        _ => return None,
    }
    for word in rest {
        match word.as_str() {
            "super" => drop(at.pop()),
            "self" => {}
            _ => at.push(word.clone()),
        }
    }
    Some(at)
}

/// Adds the leaves of a `use` tree as pairs of a full path and the name that it gets.
fn leaves(tree: &syn::UseTree, before: &mut Vec<String>, out: &mut Vec<(Vec<String>, String)>) {
    match tree {
        syn::UseTree::Path(path) => {
            before.push(path.ident.to_string());
            leaves(&path.tree, before, out);
            before.pop();
        }
        syn::UseTree::Group(group) => {
            group.items.iter().for_each(|tree| leaves(tree, before, out));
        }
        syn::UseTree::Name(name) => {
            let mut full = before.clone();
            full.push(name.ident.to_string());
            let name = if name.ident == "self" { before.last() } else { full.last() };
            let name = name.cloned().unwrap_or_default();
            out.push((full, name));
        }
        syn::UseTree::Rename(rename) => {
            let mut full = before.clone();
            full.push(rename.ident.to_string());
            out.push((full, rename.rename.to_string()));
        }
        syn::UseTree::Glob(_) => out.push((before.clone(), "*".to_owned())),
    }
}

/// Adds every path that begins with `crate`, `super` or `self`, inside macros too.
fn paths(tokens: TokenStream, out: &mut Vec<Vec<String>>) {
    let mut path: Vec<String> = Vec::new();
    let mut colons = 0;
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => {
                if colons == 2 && !path.is_empty() {
                    path.push(ident.to_string());
                } else {
                    out.push(std::mem::replace(&mut path, vec![ident.to_string()]));
                }
                colons = 0;
            }
            TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
            TokenTree::Group(group) => {
                out.push(std::mem::take(&mut path));
                paths(group.stream(), out);
                colons = 0;
            }
            _ => {
                out.push(std::mem::take(&mut path));
                colons = 0;
            }
        }
    }
    out.push(path);
}

impl Imports {
    fn read(&mut self, module: &Module, items: Vec<syn::Item>) {
        for item in items {
            match item {
                syn::Item::Use(item) if !is_test(&item.attrs) => self.add_use(module, &item.tree),
                syn::Item::Mod(item) if !is_test(&item.attrs) => {
                    let mut inner = module.clone();
                    inner.push(item.ident.to_string());
                    self.read(&inner, item.content.map(|(_, items)| items).unwrap_or_default());
                }
                syn::Item::Use(_) | syn::Item::Mod(_) => {}
                item => {
                    let mut found = Vec::new();
                    paths(item.to_token_stream(), &mut found);
                    let named = self.named.entry(module.clone()).or_default();
                    named.extend(found.iter().filter_map(|words| absolute(module, words)));
                }
            }
        }
    }

    fn add_use(&mut self, module: &Module, tree: &syn::UseTree) {
        let mut found = Vec::new();
        leaves(tree, &mut Vec::new(), &mut found);
        for (words, name) in found {
            // A path that begins with a module inside this one.
            let below: Vec<String> =
                std::iter::once("self".to_owned()).chain(words.clone()).collect();
            let Some(full) = absolute(module, &words).or_else(|| absolute(module, &below)) else {
                continue;
            };
            if name == "*" {
                self.globs.entry(module.clone()).or_default().push(full.clone());
            } else {
                self.aliases.insert((module.clone(), name), full.clone());
            }
            self.named.entry(module.clone()).or_default().insert(full);
        }
    }

    /// Returns the module that defines the end of `path`: follows re-exports, then drops the names
    /// of items.
    fn definer(&self, path: &Module, modules: &BTreeSet<Module>, steps: usize) -> Module {
        for at in 0..path.len() {
            let (module, name) = (path[..at].to_vec(), &path[at]);
            let mut child = module.clone();
            child.push(name.clone());
            if modules.contains(&child) || steps == 0 {
                continue;
            }
            if let Some(full) = self.aliases.get(&(module, name.clone()))
                && *full != child
            {
                let next: Module = full.iter().chain(&path[at + 1..]).cloned().collect();
                return self.definer(&next, modules, steps - 1);
            }
            break;
        }
        let mut end = path.clone();
        while !modules.contains(&end) {
            end.pop();
        }
        end
    }
}

/// Returns the edges between files of a crate that are not of one room.
fn edges(src: &Path) -> BTreeMap<Module, BTreeSet<Module>> {
    let mut files = Vec::new();
    tree::rust_files(src, &mut files);
    let mut imports = Imports::default();
    let mut modules = BTreeSet::from([Module::new()]);
    for file in &files {
        // A library and a program in one folder are two crates; the program is a line of code.
        if file.ends_with("main.rs") && src.join("lib.rs").exists() {
            continue;
        }
        let module = module_of(file, src);
        modules.insert(module.clone());
        imports.read(&module, syn::parse_file(&tree::text(file)).unwrap().items);
    }
    let mut edges: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
    for (from, paths) in &imports.named {
        let mut from = from.clone();
        while !modules.contains(&from) {
            from.pop(); // a module inside of a file
        }
        for path in paths {
            let to = imports.definer(path, &modules, 8);
            if !from.starts_with(&to) && !to.starts_with(&from) {
                edges.entry(from.clone()).or_default().insert(to);
            }
        }
    }
    edges
}

/// Returns a circle of the graph as the files on it, or nothing.
fn circle(edges: &BTreeMap<Module, BTreeSet<Module>>) -> Option<Vec<String>> {
    fn visit(
        at: &Module,
        edges: &BTreeMap<Module, BTreeSet<Module>>,
        path: &mut Vec<Module>,
        done: &mut BTreeSet<Module>,
    ) -> Option<Vec<String>> {
        if let Some(begin) = path.iter().position(|m| m == at) {
            return Some(path[begin..].iter().map(|m| m.join("/")).collect());
        }
        if !done.insert(at.clone()) {
            return None;
        }
        path.push(at.clone());
        let found = edges.get(at).into_iter().flatten().find_map(|to| visit(to, edges, path, done));
        path.pop();
        found
    }
    let mut done = BTreeSet::new();
    edges.keys().find_map(|from| visit(from, edges, &mut Vec::new(), &mut done))
}

fn packages() -> Vec<PathBuf> {
    let root = tree::root();
    let mut folders = vec![root.join("kernels")];
    for group in ["crates", "bins"] {
        folders.extend(std::fs::read_dir(root.join(group)).unwrap().map(|e| e.unwrap().path()));
    }
    folders.retain(|folder| folder.join("src").is_dir());
    folders
}

#[test]
fn no_circle_of_files_in_a_crate() {
    let packages = packages();
    assert!(packages.len() > 10, "{packages:?}");
    let circles: Vec<_> = packages
        .iter()
        .filter_map(|folder| Some((folder.file_name()?, circle(&edges(&folder.join("src")))?)))
        .collect();
    assert!(circles.is_empty(), "files that name each other: {circles:?}");
}

#[test]
fn a_circle_is_seen_through_a_re_export() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("lib.rs", "mod a; mod b; pub use b::B;");
    write("a.rs", "pub struct A; fn f(b: u8) -> bool { matches!(b, crate::B) }");
    write("b.rs", "use super::a::A; pub struct B(A);");
    assert_eq!(circle(&edges(folder.path())), Some(vec!["a".to_owned(), "b".to_owned()]));
    write("b.rs", "pub struct B; #[cfg(test)] mod tests { use crate::a::A; }");
    assert_eq!(circle(&edges(folder.path())), None);
}
