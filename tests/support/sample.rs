//! Values of the types of a Varlink interface, with every field.
#![allow(dead_code, clippy::unwrap_used)]

use serde_json::{Map, Value, json};
use varlink_parser::{Argument, IDL, VStructOrEnum, VType, VTypeExt};

/// Returns a value with every field of a struct of the interface, none of them empty.
pub fn sample(idl: &IDL<'_>, fields: &[Argument<'_>]) -> Value {
    let entries = fields.iter().map(|field| {
        let value = match field.name {
            // One of three words.
            "content" => "headers".into(),
            _ => sample_of(idl, &field.vtype),
        };
        (field.name.to_owned(), value)
    });
    Value::Object(entries.collect::<Map<_, _>>())
}

fn sample_of(idl: &IDL<'_>, kind: &VTypeExt<'_>) -> Value {
    match kind {
        VTypeExt::Option(inner) => sample_of(idl, inner),
        VTypeExt::Array(inner) => json!([sample_of(idl, inner)]),
        VTypeExt::Dict(inner) => json!({ "key": sample_of(idl, inner) }),
        VTypeExt::Plain(VType::Bool) => true.into(),
        VTypeExt::Plain(VType::Int) => 7.into(),
        VTypeExt::Plain(VType::Float) => 2.5.into(),
        VTypeExt::Plain(VType::String) => "text".into(),
        VTypeExt::Plain(VType::Typename(name)) => match &idl.typedefs[name].elt {
            VStructOrEnum::VStruct(fields) => sample(idl, &fields.elts),
            VStructOrEnum::VEnum(all) => all.elts[0].to_owned().into(),
        },
        VTypeExt::Plain(_) => panic!("this kind of type is not used"),
    }
}
