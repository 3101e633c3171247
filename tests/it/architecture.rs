//! Checks imports in `src` and `benches/peers`: no cycle between files, and each layer of the library
//! imports only the layers below it. The checks include imports through the crate root.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Attribute, Item, Meta, UseTree};

/// The layers of the library, and what each one may import.
const LAYERS: [(&str, &[&str]); 8] = [
    ("error", &["error"]),
    ("wire", &["wire", "error"]),
    ("call", &["call", "wire", "error"]),
    ("stream", &["stream", "call", "wire", "error"]),
    ("redis", &["redis", "call", "error"]),
    ("client", &["client", "stream", "call", "wire", "error"]),
    ("builder", &["builder", "client", "stream", "redis", "call", "wire", "error"]),
    ("simulator", &["simulator"]),
];

/// A crate's modules: the path of each, such as `["call", "limiter"]`, and its source.
pub(crate) type Modules = BTreeMap<Vec<String>, String>;

/// Which modules each module imports.
type Imports = BTreeMap<Vec<String>, BTreeSet<Vec<String>>>;

#[test]
fn library_layers_import_only_layers_below_them() {
    let imports = imports(&library());
    assert!(imports.len() > 40, "only {} modules found", imports.len());
    assert_eq!(wrong_directions(&imports), Vec::<String>::new());
}

#[test]
fn library_has_no_import_cycle() {
    assert_eq!(cycle(&imports(&library())), None);
}

#[test]
fn command_line_has_no_import_cycle() {
    let imports = imports(&read("src/bin/wecom-enroll", "main.rs"));
    assert!(imports.len() > 20, "only {} modules found", imports.len());
    assert_eq!(cycle(&imports), None);
}

#[test]
fn peer_benches_have_no_import_cycle() {
    // The published package does not contain them.
    if !Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers").exists() {
        return;
    }
    assert_eq!(cycle(&imports(&read("benches/peers/src", "main.rs"))), None);
}

#[test]
fn reqwest_is_used_in_two_files_only() {
    let uses = |(path, source): (Vec<String>, String)| {
        let file = syn::parse_file(&source).unwrap();
        let code = file.items.iter().map(|item| item.to_token_stream().to_string());
        code.into_iter().any(|item| item.contains("reqwest ::")).then(|| path.join("::"))
    };
    let found: Vec<_> = library().into_iter().filter_map(uses).collect();
    assert_eq!(found, ["builder", "call::http"]);
}

#[test]
fn import_check_sees_the_crate_root_and_single_files() {
    let root = "mod a; mod b; pub use b::B;";
    let check = |a: &str, b: &str| {
        let sources = [("", root), ("a", a), ("b", b)];
        let modules = sources.map(|(path, source)| (module_path(path), source.to_owned()));
        cycle(&imports(&modules.into()))
    };
    // `a` imports an item of `b` through the crate root, which imports `b`, which imports `a`.
    assert!(check("use crate::B;", "use crate::a::A; pub struct B;").is_some());
    assert!(check("use crate::b::B;", "use super::a;").is_some());
    assert!(check("fn f() { drop(crate::b::B) }", "use crate::{a::{self, A}};").is_some());
    assert!(check("fn f() { use crate::{b::B, c::{C}}; }", "use crate::a::A;").is_some());
    assert!(check("m! { super::b::B }", "use crate::a::*;").is_some());
    // Documentation and tests import nothing.
    assert_eq!(check("//! See [`crate::b::B`].\n/* use crate::b; */", "use crate::a::A;"), None);
    assert_eq!(check("#[cfg(test)] mod tests { use crate::b::B; }", "use crate::a::A;"), None);
    // Two modules that import a third one do not form a cycle.
    assert_eq!(check("use std::fmt;", "use crate::a::A;"), None);
}

#[test]
fn import_check_refuses_a_layer_above_and_the_crate_root() {
    let check = |wire: &str| {
        let root = "mod call; mod wire; pub use call::Quota;";
        let sources = [("", root), ("wire", wire), ("call", "pub struct Quota;")];
        let modules = sources.map(|(path, source)| (module_path(path), source.to_owned()));
        wrong_directions(&imports(&modules.into()))
    };
    assert_eq!(check("use crate::call::Quota;"), ["wire imports call"]);
    assert_eq!(check("use crate::Quota;"), ["wire imports the crate root"]);
    assert_eq!(check("/// [`crate::call`]\nstruct Page;"), Vec::<String>::new());
}

fn module_path(path: &str) -> Vec<String> {
    path.split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

pub(crate) fn library() -> Modules {
    let mut modules = read("src", "lib.rs");
    modules.retain(|path, _| path.first().is_none_or(|name| name != "bin" && name != "cookbook"));
    modules
}

/// Reads all source files of a crate below `folder`.
fn read(folder: &str, root: &str) -> Modules {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let (mut modules, mut folders) = (Modules::new(), vec![folder.clone()]);
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path.strip_prefix(&folder).unwrap().with_extension("");
                let names = relative.iter().map(|name| name.to_str().unwrap().to_owned());
                let mut names: Vec<_> = names.collect();
                if path == folder.join(root) || names.last().is_some_and(|name| name == "mod") {
                    names.pop();
                }
                modules.insert(names, fs::read_to_string(path).unwrap());
            }
        }
    }
    modules
}

fn imports(modules: &Modules) -> Imports {
    let imported = |(path, source): (&Vec<String>, &String)| {
        let file = syn::parse_file(source).unwrap();
        let mut paths = Vec::new();
        file.items.iter().for_each(|item| collect(item, &mut paths));
        let targets = paths.iter().filter_map(|target| resolve(path, target, modules));
        (path.clone(), targets.filter(|target| target != path).collect())
    };
    modules.iter().map(imported).collect()
}

/// Collects the paths that an item names, except in tests and documentation.
fn collect(item: &Item, paths: &mut Vec<Vec<String>>) {
    match item {
        Item::Mod(module) if is_cfg(&module.attrs, "test") || is_cfg(&module.attrs, "doc") => {}
        Item::Use(item) if is_cfg(&item.attrs, "test") => {}
        Item::Use(item) => collect_tree(&item.tree, &mut Vec::new(), paths),
        item => collect_tokens(item.to_token_stream(), paths),
    }
}

/// Returns whether the item is only compiled if `name` is set.
fn is_cfg(attributes: &[Attribute], name: &str) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => {
            let condition = list.tokens.to_string();
            condition == name || condition.starts_with("all (doc")
        }
        _ => false,
    })
}

fn collect_tree(tree: &UseTree, prefix: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
    match tree {
        UseTree::Path(path) => {
            prefix.push(path.ident.to_string());
            collect_tree(&path.tree, prefix, paths);
            prefix.pop();
        }
        UseTree::Name(name) => paths.push([&prefix[..], &[name.ident.to_string()]].concat()),
        UseTree::Rename(name) => paths.push([&prefix[..], &[name.ident.to_string()]].concat()),
        UseTree::Glob(_) => paths.push(prefix.clone()),
        UseTree::Group(group) => {
            group.items.iter().for_each(|tree| collect_tree(tree, prefix, paths));
        }
    }
}

/// Collects the paths in these tokens that start with `crate`, `super` or `self`, even in macros.
fn collect_tokens(tokens: TokenStream, paths: &mut Vec<Vec<String>>) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let is_colon =
        |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(p)) if p.as_char() == ':');
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => collect_tokens(group.stream(), paths),
            TokenTree::Ident(ident)
                if ["crate", "super", "self"].map(|name| ident == name).contains(&true) =>
            {
                let (mut path, mut at) = (vec![ident.to_string()], at + 1);
                while is_colon(at) && is_colon(at + 1) {
                    match tokens.get(at + 2) {
                        Some(TokenTree::Ident(ident)) => path.push(ident.to_string()),
                        Some(group @ TokenTree::Group(_)) => {
                            // `use` with several paths in a function or an inline module.
                            let tree = syn::parse_str(&format!("{}::{group}", path.join("::")));
                            collect_tree(&tree.unwrap(), &mut Vec::new(), paths);
                            break;
                        }
                        _ => break,
                    }
                    at += 3;
                }
                if path.len() > 1 {
                    paths.push(path);
                }
            }
            _ => {}
        }
    }
}

/// Returns the module that `target`, a path in the module `from`, belongs to.
fn resolve(from: &[String], target: &[String], modules: &Modules) -> Option<Vec<String>> {
    let mut path = match &*target[0] {
        "crate" => Vec::new(),
        "super" => from[..from.len().checked_sub(1)?].to_vec(),
        "self" => from.to_vec(),
        child => {
            let child = [from, &[child.to_owned()]].concat();
            // Otherwise the path is of another crate.
            modules.contains_key(&child).then_some(child)?
        }
    };
    for name in &target[1..] {
        if name == "super" {
            path.pop()?;
            continue;
        }
        let child = [&path[..], std::slice::from_ref(name)].concat();
        if !modules.contains_key(&child) {
            break;
        }
        path = child;
    }
    Some(path)
}

/// Returns the modules of a cycle, if there is one.
fn cycle(imports: &Imports) -> Option<Vec<String>> {
    fn visit<'a>(
        module: &'a Vec<String>,
        imports: &'a Imports,
        path: &mut Vec<&'a Vec<String>>,
        finished: &mut BTreeSet<&'a Vec<String>>,
    ) -> Option<Vec<String>> {
        if finished.contains(module) {
            return None;
        }
        if let Some(start) = path.iter().position(|visited| *visited == module) {
            return Some(path[start..].iter().map(|module| name(module)).collect());
        }
        path.push(module);
        let found = imports[module].iter().find_map(|next| visit(next, imports, path, finished));
        path.pop();
        finished.insert(module);
        found
    }
    let (mut path, mut finished) = (Vec::new(), BTreeSet::new());
    imports.keys().find_map(|module| visit(module, imports, &mut path, &mut finished))
}

fn wrong_directions(imports: &Imports) -> Vec<String> {
    let mut wrong = Vec::new();
    for (module, targets) in imports {
        let Some(layer) = module.first() else { continue };
        let (_, allowed) = LAYERS.iter().find(|(name, _)| name == layer).unwrap();
        for target in targets {
            if !target.first().is_some_and(|layer| allowed.contains(&&**layer)) {
                wrong.push(format!("{} imports {}", name(module), name(target)));
            }
        }
    }
    wrong
}

fn name(module: &[String]) -> String {
    if module.is_empty() { "the crate root".to_owned() } else { module.join("::") }
}
