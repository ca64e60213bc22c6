//! Schedules and retention as they are written: the catalog's record itself.

use bygone_catalog::record::ScheduleSpec;
use serde_json::Value;

use crate::schema::{Book, JsonSchema, field, object};

impl JsonSchema for ScheduleSpec {
    fn named() -> bool {
        true
    }

    fn schema(book: &mut Book) -> Value {
        let fields = vec![
            field::<u64>(book, "interval_secs", "Seconds from one to the next: 60 to 31 days."),
            field::<u64>(book, "base_secs", "Seconds that every snapshot is kept."),
            field::<u16>(book, "days", "The first of a day, for so many days; 0 is off."),
            field::<u16>(book, "weeks", "The first of a week, for so many weeks."),
            field::<u16>(book, "months", "The first of a month, for so many months."),
            field::<u16>(book, "years", "The first of a year, for so many years."),
            field::<i8>(book, "hour", "Hour at which the day begins."),
            field::<i8>(book, "minute", "Minute at which the day begins."),
            field::<String>(book, "zone", "A time zone's name, or an offset such as +0200."),
            field::<u64>(book, "window_secs", "Every second of this long can be restored."),
        ];
        object("When snapshots are taken and how long they are kept.", fields, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_has_the_records_fields() {
        let schema = ScheduleSpec::schema(&mut Book::default());
        let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let written = serde_json::to_value(ScheduleSpec::default()).unwrap();
        let (mut said, mut has) = (names(&schema["properties"]), names(&written));
        said.sort();
        has.sort();
        assert_eq!(said, has);
    }
}
