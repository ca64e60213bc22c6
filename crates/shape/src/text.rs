//! The implementation, as text.

use quote::ToTokens as _;
use syn::{Data, DataEnum, DeriveInput, Error, Field, Fields, Result, Type, Variant};

use crate::attributes::{Attributes, renamed};

/// `impl crate::schema::JsonSchema for ..`
pub(crate) fn implementation(input: &DeriveInput) -> Result<String> {
    let attributes = Attributes::read(&input.attrs)?;
    let refuse = |why: &str| Err(Error::new(input.ident.span(), why));
    if !input.generics.params.is_empty() {
        return refuse("a type with parameters has no schema of its own");
    }
    let made = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(_) => object(&data.fields, &attributes, &attributes.about, "")?,
            Fields::Unnamed(fields) if fields.unnamed.len() == 1 => inner(&data.fields)?,
            _ => return refuse("only structs with named fields, or of one, have a schema"),
        },
        Data::Enum(data) => variants(data, &attributes)?,
        Data::Union(_) => return refuse("a union has no schema"),
    };
    let name = &input.ident;
    Ok(format!(
        "impl crate::schema::JsonSchema for {name} {{
            fn named() -> bool {{ true }}
            fn schema(book: &mut crate::schema::Book) -> serde_json::Value {{ {made} }}
        }}"
    ))
}

/// An object; `first` is a field that is there already.
fn object(fields: &Fields, of: &Attributes, about: &str, first: &str) -> Result<String> {
    let mut text = String::new();
    for field in fields {
        let own = Attributes::read(&field.attrs)?;
        let ident = field.ident.as_ref().map(ToString::to_string).unwrap_or_default();
        let name = own.rename.unwrap_or_else(|| renamed(&ident, of.rename_all.as_deref()));
        let schema = match &own.with {
            Some(with) => format!("book.of::<{with}>()"),
            None => format!("book.of::<{}>()", written(&field.ty)),
        };
        let required = !(own.may_lack || of.may_lack || is_option(&field.ty));
        let about = own.about;
        text.push_str(&format!(
            "crate::schema::Field {{ name: {name:?}, about: {about:?}, schema: {schema}, required: {required} }},"
        ));
    }
    let closed = of.closed;
    Ok(format!("crate::schema::object({about:?}, vec![{first}{text}], {closed})"))
}

/// The schema of the only field.
fn inner(fields: &Fields) -> Result<String> {
    let field = fields.iter().next();
    let schema = |field: &Field| -> Result<String> {
        let own = Attributes::read(&field.attrs)?;
        let ty = own.with.unwrap_or_else(|| written(&field.ty));
        Ok(format!("book.of::<{ty}>()"))
    };
    field.map_or_else(|| Ok("serde_json::json!({ \"type\": \"null\" })".to_owned()), schema)
}

fn variants(data: &DataEnum, of: &Attributes) -> Result<String> {
    let mut all = Vec::new();
    for variant in &data.variants {
        let own = Attributes::read(&variant.attrs)?;
        let ident = variant.ident.to_string();
        let name = own.rename.clone().unwrap_or_else(|| renamed(&ident, of.rename_all.as_deref()));
        all.push((variant, name, own));
    }
    let about = &of.about;
    if of.tag.is_none() && !of.untagged {
        let plain = all.iter().all(|(variant, ..)| matches!(variant.fields, Fields::Unit));
        if !plain {
            return Err(Error::new(data.enum_token.span, "an enum with values needs a tag"));
        }
        let names: Vec<String> = all.into_iter().map(|(_, name, _)| name).collect();
        return Ok(format!("crate::schema::words({about:?}, &{names:?})"));
    }
    let mut schemas = String::new();
    for (variant, name, own) in &all {
        schemas.push_str(&one(variant, name, own, of)?);
        schemas.push(',');
    }
    Ok(format!("crate::schema::either({about:?}, vec![{schemas}])"))
}

fn one(variant: &Variant, name: &str, own: &Attributes, of: &Attributes) -> Result<String> {
    let Some(tag) = &of.tag else { return inner(&variant.fields) };
    let tag = format!(
        "crate::schema::Field {{ name: {tag:?}, about: \"\", schema: serde_json::json!({{ \"const\": {name:?} }}), required: true }},"
    );
    let about = &own.about;
    let closed = of.closed;
    match (&of.content, &variant.fields) {
        (Some(content), Fields::Unnamed(_)) => {
            let value = inner(&variant.fields)?;
            let value = format!(
                "crate::schema::Field {{ name: {content:?}, about: \"\", schema: {value}, required: true }}"
            );
            Ok(format!("crate::schema::object({about:?}, vec![{tag}{value}], {closed})"))
        }
        (_, Fields::Unit) => Ok(format!("crate::schema::object({about:?}, vec![{tag}], {closed})")),
        (None, Fields::Named(_)) => {
            // serde renames variants by the type's rule, not their fields.
            let rules = Attributes { closed, ..Attributes::default() };
            object(&variant.fields, &rules, about, &tag)
        }
        _ => Err(Error::new(variant.ident.span(), "no schema can be made of this variant")),
    }
}

fn written(ty: &Type) -> String {
    ty.to_token_stream().to_string()
}

fn is_option(ty: &Type) -> bool {
    let Type::Path(path) = ty else { return false };
    path.path.segments.last().is_some_and(|segment| segment.ident == "Option")
}
