//! Controls of forms.

use maud::{Markup, html};

use crate::form::Form;

/// The field that proves that a form came from our own page.
pub(crate) fn csrf(token: &str) -> Markup {
    html! { input type="hidden" name="csrf" value=(token); }
}

/// A line of text with its label and what it is for.
pub(crate) fn text(name: &str, label: &str, value: &str, help: &str) -> Markup {
    field(
        name,
        label,
        help,
        html! {
            input type="text" id=(name) name=(name) value=(value) autocomplete="off" spellcheck="false"
                aria-describedby=[describes(name, help)];
        },
    )
}

/// A secret: never filled in.
pub(crate) fn secret(name: &str, label: &str, autocomplete: &str, help: &str) -> Markup {
    field(
        name,
        label,
        help,
        html! {
            input type="password" id=(name) name=(name) autocomplete=(autocomplete)
                aria-describedby=[describes(name, help)];
        },
    )
}

/// Fields that go on to the next page as they are, but those of these names.
pub(crate) fn hidden(form: &Form, but: &[&str]) -> Markup {
    html! {
        @for (name, value) in form.fields().filter(|(name, _)| !but.contains(name)) {
            input type="hidden" name=(name) value=(value);
        }
    }
}

/// Lines of text.
pub(crate) fn lines(name: &str, label: &str, value: &[String], help: &str) -> Markup {
    field(
        name,
        label,
        help,
        html! {
            textarea id=(name) name=(name) rows="3" spellcheck="false"
                aria-describedby=[describes(name, help)] { (value.join("\n")) }
        },
    )
}

/// A whole number.
pub(crate) fn number(name: &str, label: &str, value: &str, help: &str) -> Markup {
    field(
        name,
        label,
        help,
        html! {
            input.number type="text" inputmode="numeric" id=(name) name=(name) value=(value) autocomplete="off"
                aria-describedby=[describes(name, help)];
        },
    )
}

/// A number of seconds with its unit, as they stand in a form.
pub(crate) fn duration(form: &Form, name: &str, label: &str, help: &str) -> Markup {
    let unit_of = format!("{name}_unit");
    let (value, unit) = (form.text(name), form.text(&unit_of));
    field(
        name,
        label,
        help,
        html! {
            span.pair {
                input.number type="text" inputmode="numeric" id=(name) name=(name) value=(value)
                    autocomplete="off" aria-describedby=[describes(name, help)];
                select name=(unit_of) aria-label={ (label) ": unit" } {
                    @for (short, word) in [("s", "seconds"), ("min", "minutes"), ("h", "hours"), ("d", "days")] {
                        option value=(short) selected[short == unit] { (word) }
                    }
                }
            }
        },
    )
}

/// One of several.
pub(crate) fn choice(
    name: &str,
    label: &str,
    options: &[(String, String)],
    value: &str,
    help: &str,
) -> Markup {
    field(
        name,
        label,
        help,
        html! {
            select id=(name) name=(name) aria-describedby=[describes(name, help)] {
                @for (key, word) in options {
                    option value=(key) selected[key == value] { (word) }
                }
            }
        },
    )
}

/// A box to tick.
pub(crate) fn tick(name: &str, value: &str, label: &str, on: bool) -> Markup {
    html! {
        label.tick { input type="checkbox" name=(name) value=(value) checked[on]; " " (label) }
    }
}

/// One round button of a group.
pub(crate) fn radio(name: &str, value: &str, label: &str, on: bool) -> Markup {
    html! {
        label.tick { input type="radio" name=(name) value=(value) checked[on]; " " (label) }
    }
}

/// A form that is one button. `does` is said to those who hover or cannot see.
pub(crate) fn button(
    csrf_token: &str,
    action: &str,
    word: &str,
    class: &str,
    does: &str,
) -> Markup {
    html! {
        form.inline method="post" action=(action) {
            (csrf(csrf_token))
            button type="submit" class=(class) title=(does) { (word) }
        }
    }
}

fn describes(name: &str, help: &str) -> Option<String> {
    (!help.is_empty()).then(|| format!("{name}-help"))
}

fn field(name: &str, label: &str, help: &str, input: Markup) -> Markup {
    html! {
        div.field {
            label for=(name) { (label) }
            (input)
            @if !help.is_empty() { p.help id={ (name) "-help" } { (help) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVIL: &str = "\"><script>alert('x')</script>&";

    #[test]
    fn nothing_breaks_out_of_its_field() {
        let list = [EVIL.to_owned()];
        let form = Form::default().with("e", EVIL).with("e_unit", EVIL);
        let options = [(EVIL.to_owned(), EVIL.to_owned())];
        let all = html! {
            (text("a", EVIL, EVIL, EVIL)) (secret("b", EVIL, "off", EVIL)) (lines("c", EVIL, &list, EVIL))
            (number("d", EVIL, EVIL, EVIL)) (duration(&form, "e", EVIL, EVIL))
            (choice("f", EVIL, &options, EVIL, EVIL)) (tick("g", EVIL, EVIL, true))
            (radio("h", EVIL, EVIL, false)) (button(EVIL, EVIL, EVIL, "x", EVIL))
        };
        let all = all.into_string();
        assert!(!all.contains("<script"), "{all}");
    }

    #[test]
    fn a_duration_is_shown_in_its_unit() {
        let form = Form::default().seconds_of("keep", 7200);
        let text = duration(&form, "keep", "Keep", "").into_string();
        assert!(text.contains("value=\"2\"") && text.contains("value=\"h\" selected"), "{text}");
    }
}
