//! The public API is listed in `public_api.txt`, so that a change of it is seen in review.
//!
//! To update the file, run `WECOM_ENROLL_UPDATE_API=1 cargo test --all-features --test it public_api`.
//! It contains all `pub` items without documentation and bodies; the lint `unreachable_pub` makes sure that
//! no other item is `pub`. Implementations of traits are listed without their methods. A macro that declares
//! public items is listed as it is.

use std::{collections::BTreeSet, env, fs};

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{
    Fields, File, FnArg, ImplItem, Item, Receiver, TraitItem, Type, Visibility, parse_quote, parse2,
};

use crate::architecture::library;

/// Attributes that are not part of the API.
const HIDDEN: [&str; 6] = ["allow", "cold", "doc", "expect", "inline", "warn"];

#[test]
fn public_api_is_the_recorded_one() {
    let record = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/public_api.txt");
    let sources = library().into_iter().map(|(path, source)| (path.join("::"), source));
    let api = list(&sources.collect::<Vec<_>>());
    if env::var_os("WECOM_ENROLL_UPDATE_API").is_some() {
        fs::write(record, &api).unwrap();
    }
    let recorded = fs::read_to_string(record).unwrap();
    let differs = |(one, two): (&str, &str)| (one != two).then(|| format!("- {one}\n+ {two}"));
    let first = recorded.lines().chain([""]).zip(api.lines().chain([""])).find_map(differs);
    assert_eq!(
        first, None,
        "the public API has changed; the documentation of this test says how to record it"
    );
    assert_eq!(recorded.lines().count(), api.lines().count());
}

#[test]
fn public_api_lists_what_a_user_can_name() {
    let list = |source: &str| list(&[("m".to_owned(), source.to_owned())]);
    let public = "/// A.\n#[derive(Clone)] #[inline] pub struct A { /// B.\n pub b: u8, c: u8 }
        impl A { /// F.\n pub fn f(mut self) -> u8 { self.b } fn g() {} }
        impl<'a> From<&'a A> for u8 { fn from(a: &A) -> u8 { a.b } }
        impl Iterator for A { type Item = u8; fn next(&mut self) -> Option<u8> { None } }";
    let expected = "// m\n#[derive(Clone)]\npub struct A {\n    pub b: u8,\n    _private: (),\n}\n\
        impl A {\n    pub fn f(self) -> u8 {}\n}\nimpl Iterator for A {\n    type Item = u8;\n}\n";
    assert_eq!(list(public), expected);
    let private = "mod a; use b::B; struct C; pub(crate) struct D; pub(super) fn e() {} fn f() {}
        impl C { pub fn g() {} } impl Clone for C {} macro_rules! h { () => {} }";
    assert_eq!(list(private), "");
    let value = |value| list(&format!("pub const A: u8 = {value};"));
    assert_ne!(value(1), value(2));
    assert!(list("macro_rules! m { ($a:ident) => { pub struct $a; } } m! { A }").contains("m! {"));
    assert_eq!(list("macro_rules! m { ($a:ident) => { struct $a; } } m! { A }"), "");
}

/// Returns the API of the modules with these names and sources.
fn list(sources: &[(String, String)]) -> String {
    let parse = |(name, source): &(String, String)| {
        let tokens = strip_attributes(source.parse().unwrap());
        (name.clone(), parse2::<File>(tokens).unwrap())
    };
    let mut files: Vec<_> = sources.iter().map(parse).collect();
    let public: BTreeSet<_> =
        files.iter().flat_map(|(_, file)| &file.items).filter_map(public_name).collect();
    let mut list = String::new();
    for (name, mut file) in files.drain(..) {
        file.attrs.clear();
        file.items.retain_mut(|item| reduce(item, &public));
        if !file.items.is_empty() {
            let name = if name.is_empty() { "crate" } else { &name };
            list += &["// ", name, "\n", &prettyplease::unparse(&file)].concat();
        }
    }
    list
}

/// Removes the attributes that are not part of the API.
fn strip_attributes(tokens: TokenStream) -> TokenStream {
    let mut stripped = Vec::new();
    for token in tokens {
        let TokenTree::Group(group) = token else {
            stripped.push(token);
            continue;
        };
        let name = group.stream().into_iter().next().map(|token| token.to_string());
        let is_hidden = name.is_some_and(|name| HIDDEN.contains(&&*name));
        let is = |token: Option<&TokenTree>, c| matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == c);
        if is_hidden && is(stripped.last(), '#') {
            stripped.pop();
        } else if is_hidden && is(stripped.last(), '!') && is(stripped.iter().nth_back(1), '#') {
            stripped.truncate(stripped.len() - 2);
        } else {
            let inner = strip_attributes(group.stream());
            stripped.push(proc_macro2::Group::new(group.delimiter(), inner).into());
        }
    }
    stripped.into_iter().collect()
}

/// Returns the name of a public type, or of a macro that declares one.
fn public_name(item: &Item) -> Option<Ident> {
    let (visibility, name) = match item {
        Item::Macro(item) => {
            let tokens = item.mac.tokens.to_string();
            let declares = ["pub struct", "pub enum"].iter().any(|start| tokens.contains(start));
            return item.ident.clone().filter(|_| declares);
        }
        Item::Struct(item) => (&item.vis, &item.ident),
        Item::Enum(item) => (&item.vis, &item.ident),
        _ => return None,
    };
    is_public(visibility).then(|| name.clone())
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// Reduces an item to its public part. Returns whether it has one.
fn reduce(item: &mut Item, public: &BTreeSet<Ident>) -> bool {
    match item {
        Item::Use(item) => is_public(&item.vis),
        Item::Mod(item) => is_public(&item.vis),
        Item::Const(item) => is_public(&item.vis),
        Item::Static(item) => is_public(&item.vis),
        Item::Type(item) => is_public(&item.vis),
        Item::Enum(item) => is_public(&item.vis),
        Item::Struct(item) => {
            reduce_fields(&mut item.fields);
            is_public(&item.vis)
        }
        Item::Fn(item) => {
            item.block = parse_quote!({});
            is_public(&item.vis)
        }
        Item::Trait(item) => {
            for item in &mut item.items {
                if let TraitItem::Fn(function) = item {
                    function.default = function.default.as_ref().map(|_| parse_quote!({}));
                }
            }
            is_public(&item.vis)
        }
        Item::Impl(item) => {
            let is_trait = item.trait_.is_some();
            item.items.retain_mut(|item| match item {
                ImplItem::Fn(function) => {
                    function.block = parse_quote!({});
                    if let Some(FnArg::Receiver(Receiver { reference: None, mutability, .. })) =
                        function.sig.inputs.first_mut()
                    {
                        *mutability = None;
                    }
                    !is_trait && is_public(&function.vis)
                }
                ImplItem::Const(constant) => !is_trait && is_public(&constant.vis),
                _ => true,
            });
            names_one_of(&item.self_ty, public) && (is_trait || !item.items.is_empty())
        }
        Item::Macro(item) => {
            let name = item.ident.as_ref().or(item.mac.path.get_ident());
            name.is_some_and(|name| public.contains(name))
        }
        _ => false,
    }
}

/// Replaces the private fields by one that shows that they exist.
fn reduce_fields(fields: &mut Fields) {
    let all = fields.len();
    match fields {
        Fields::Named(fields) => {
            fields.named =
                fields.named.clone().into_iter().filter(|field| is_public(&field.vis)).collect();
            if fields.named.len() < all {
                fields.named.push(parse_quote!(_private: ()));
            }
        }
        Fields::Unnamed(fields) => {
            for field in fields.unnamed.iter_mut().filter(|field| !is_public(&field.vis)) {
                field.ty = parse_quote!(());
            }
        }
        Fields::Unit => {}
    }
}

fn names_one_of(self_type: &Type, public: &BTreeSet<Ident>) -> bool {
    match self_type {
        Type::Reference(reference) => names_one_of(&reference.elem, public),
        Type::Path(path) => {
            path.path.segments.last().is_some_and(|name| public.contains(&name.ident))
        }
        other => panic!("an implementation for {}", other.to_token_stream()),
    }
}
