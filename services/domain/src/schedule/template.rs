//! The request for a task that a schedule keeps, with places for what differs from run to run.
//!
//! Places are filled in in the text of the JSON, before it is read: nothing that is filled in has a
//! character that JSON would escape.

use super::zone::Zone;
use crate::recurring::RunOf;
use crate::task::request::{Invalid, shortened};

/// What can be filled in, by the name of its place.
const PLACES: [&str; 4] = ["run.id", "run.dueAt", "run.localTime", "schedule.id"];
/// Other places in double braces are not ours: `{{tok_...}}` is one of the vault's.
const OURS: [&str; 2] = ["run.", "schedule."];

/// Refuses places that nothing is known of.
///
/// # Errors
/// If there is one.
pub fn check(template: &str) -> Result<(), Invalid> {
    for part in template.split("{{").skip(1) {
        let name = part.split("}}").next().unwrap_or_default();
        let is_ours = OURS.iter().any(|ours| name.trim_start().starts_with(ours));
        if is_ours && !PLACES.contains(&name) {
            let known = PLACES.map(|place| format!("{{{{{place}}}}}")).join(", ");
            let shown = shortened(name);
            let message = format!("task can have the places {known}, not {{{{{shown}}}}}");
            return Err(Invalid::new("task", message));
        }
    }
    Ok(())
}

/// The request for the task of a run.
#[must_use]
pub fn fill(template: &str, run: &RunOf, zone: &Zone) -> String {
    if !template.contains("{{") {
        return template.to_owned();
    }
    let local = zone.clock(run.due);
    let values = [
        run.run.to_string(),
        run.due.to_string(),
        local.unwrap_or_default(),
        run.schedule.to_string(),
    ];
    let mut filled = template.to_owned();
    for (place, value) in PLACES.iter().zip(values) {
        filled = filled.replace(&format!("{{{{{place}}}}}"), &value);
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ScheduleId;
    use crate::recurring::RunId;
    use crate::time::Timestamp;

    #[test]
    fn places_are_filled_in_and_unknown_ones_are_refused() {
        let schedule = ScheduleId::new(Timestamp(1), 1);
        let due = Timestamp::parse_rfc3339("2026-07-01T07:00:00Z").expect("a date");
        let run = RunOf {
            run: RunId::due(&schedule, 1, due),
            version: 1,
            due,
            manual: false,
            schedule: schedule.clone(),
        };
        let zone = Zone::parse("Europe/Madrid").expect("a zone");
        let template =
            r#"{"json": ["{{run.dueAt}}", "{{run.localTime}}", "{{tok_1}}", "{{schedule.id}}"]}"#;
        assert_eq!(check(template), Ok(()));
        assert_eq!(
            fill(template, &run, &zone),
            format!(
                r#"{{"json": ["2026-07-01T07:00:00.000Z", "2026-07-01T09:00:00", "{{{{tok_1}}}}", "{schedule}"]}}"#
            )
        );
        for wrong in [
            "{{run.colour}}",
            "{{ run.id }}",
            "{{schedule.name",
            "x {{run.",
        ] {
            assert_eq!(
                check(wrong).map_err(|refused| refused.field),
                Err("task"),
                "{wrong}"
            );
        }
        assert_eq!(check("{{other}} {{"), Ok(()));
    }
}
