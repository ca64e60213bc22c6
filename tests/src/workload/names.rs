//! Names of collections and fields, the odd ones among them.

use super::Dice;

/// A name for a new collection. `serial` keeps names apart; a few names come again and again.
pub(super) fn collection(dice: &Dice, serial: u64) -> String {
    let plain = ["orders", "users", "events", "items.archive", "blob"];
    let odd = [
        "with space",
        "per%cent",
        "slash/ed",
        "back\\slash",
        "new\nline",
        "tab\ttab",
        "quo\"te'd",
        "dots.in.a.row",
        "Grüße",
        "日本語",
        "emoji🙂",
        "-dash",
        "UPPER",
        "upper",
        "trailing ",
        "a:b*c?",
    ];
    match dice.below(10) {
        0..5 => dice.pick(&plain).to_string(),
        5..7 => dice.pick(&odd).to_string(),
        7 => format!("{}{serial}", dice.word(150)),
        _ => format!("{}{serial}", dice.word(4)),
    }
}

/// A field of the documents that updates aim at.
pub(super) fn field(dice: &Dice) -> &'static str {
    const FIELDS: [&str; 9] = ["n", "s", "a", "sub", "d", "tags", "extra", "at", "m"];
    FIELDS[dice.below(FIELDS.len())]
}

/// A path of such fields, also into arrays and to where nothing is.
pub(super) fn path(dice: &Dice) -> String {
    match dice.below(10) {
        0..5 => field(dice).to_owned(),
        5 => format!("sub.{}", field(dice)),
        6 => format!("sub.deep.{}", field(dice)),
        7 => format!("a.{}", dice.below(12)),
        8 => format!("a.{}.{}", dice.below(4), field(dice)),
        _ => format!("{}.{}", field(dice), field(dice)),
    }
}
