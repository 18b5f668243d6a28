//! What one edit of the CMS does to a row: a pure function of the row and a [`Plan`].

use serde_json::{Value, json};

use crate::dice::Plan;
use crate::record::{Field, Fields};

const NAME_SUFFIX: &str = "HOOOOOOOOOOLAAA";
const NAME_LIMIT: usize = 150;
const DESCRIPTION_SUFFIX: &str = "  blabla...";
const DESCRIPTION_LIMIT: usize = 1024;

/// The fields an edit sets. At least one of them differs from the row.
///
/// As in the traffic of the real CMS, the description always grows, `forbidden` is always set, and half of the edits
/// each grow the name and set a new cost.
pub(crate) fn edit(row: &Fields, plan: &Plan) -> Fields {
    let mut fields = Fields::from([(Field::Forbidden, json!(true))]);
    if plan.grow_name {
        fields.extend(grown(row, Field::Name, NAME_SUFFIX, NAME_LIMIT));
    }
    fields.extend(grown(row, Field::Description, DESCRIPTION_SUFFIX, DESCRIPTION_LIMIT));
    if plan.change_cost || fields.iter().all(|(field, value)| row.get(field) == Some(value)) {
        fields.insert(Field::Cost, new_cost(row, plan.cost));
    }
    fields
}

/// The text with its suffix once more. Where the column is full, Postgres would refuse that, so the text starts afresh
/// without any suffix; where it is full without one, it stays as it is.
fn grown(row: &Fields, field: Field, suffix: &str, limit: usize) -> Option<(Field, Value)> {
    let text = row.get(&field).and_then(Value::as_str).unwrap_or_default();
    let grown = format!("{text}{suffix}");
    if grown.chars().count() <= limit {
        return Some((field, Value::String(grown)));
    }
    let afresh = text.trim_end_matches(suffix);
    (afresh != text).then(|| (field, json!(afresh)))
}

fn new_cost(row: &Fields, cost: i64) -> Value {
    let unchanged = row.get(&Field::Cost).and_then(Value::as_i64) == Some(cost);
    json!(if unchanged { cost + 1 } else { cost })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::dice::Dice;

    fn row(name: &str, description: &str) -> Fields {
        [
            (Field::Name, json!(name)),
            (Field::Description, json!(description)),
            (Field::Forbidden, json!(false)),
            (Field::Cost, json!(11)),
        ]
        .into()
    }

    fn plan(grow_name: bool, change_cost: bool, cost: i64) -> Plan {
        Plan { grow_name, change_cost, cost, ..Dice::new(1).plan(&Config::default()) }
    }

    #[test]
    fn an_edit_is_one_that_the_real_cms_made() {
        let fields = edit(&row("Camaca", "Fine silk fabric"), &plan(true, true, 102));
        let expected = [
            (Field::Name, json!("CamacaHOOOOOOOOOOLAAA")),
            (Field::Description, json!("Fine silk fabric  blabla...")),
            (Field::Forbidden, json!(true)),
            (Field::Cost, json!(102)),
        ];
        assert_eq!(fields, expected.into());

        let fields = edit(&row("Camaca", "Fine silk fabric"), &plan(false, false, 102));
        assert_eq!(fields.keys().copied().collect::<Vec<_>>(), [Field::Description, Field::Forbidden]);
    }

    #[test]
    fn a_new_cost_differs_from_the_old_one() {
        assert_eq!(edit(&row("a", "b"), &plan(false, true, 11))[&Field::Cost], json!(12));
    }

    /// A thousand edits of one row: each changes something, and none would be refused by the columns' limits.
    #[test]
    fn every_edit_changes_something_within_the_limits() {
        let mut dice = Dice::new(3);
        let mut row = row("Vétiver Nocturne", "Woody; été");
        for _ in 0..1000 {
            let fields = edit(&row, &dice.plan(&Config::default()));
            assert!(fields.iter().any(|(field, value)| row[field] != *value), "{fields:?} changes nothing");
            row.extend(fields);
            assert!(row[&Field::Name].as_str().unwrap().chars().count() <= NAME_LIMIT);
            assert!(row[&Field::Description].as_str().unwrap().chars().count() <= DESCRIPTION_LIMIT);
        }
    }

    #[test]
    fn a_full_text_starts_afresh_from_its_seed() {
        let full = format!("Camaca{}", NAME_SUFFIX.repeat(9));
        let fields = edit(&row(&full, "b"), &plan(true, false, 1));
        assert_eq!(fields[&Field::Name], json!("Camaca"));
    }

    #[test]
    fn a_row_that_cannot_grow_gets_a_new_cost() {
        let mut stuck = row(&"n".repeat(150), &"d".repeat(1024));
        stuck.insert(Field::Forbidden, json!(true));
        let fields = edit(&stuck, &plan(true, false, 50));
        assert_eq!(fields, [(Field::Forbidden, json!(true)), (Field::Cost, json!(50))].into());
    }

    #[test]
    fn nulls_grow_from_nothing() {
        let row = [(Field::Name, Value::Null), (Field::Description, Value::Null)].into();
        assert_eq!(edit(&row, &plan(true, false, 1))[&Field::Name], json!(NAME_SUFFIX));
    }
}
