//! Selects the suites that a command line names.

use anyhow::bail;
use kubenest_runner::{Chosen, Package, Selection, Side};

use crate::workspace::Suite;

/// Reads `SUITE` and `SUITE::TEXT`; without any, every suite with two sides is selected.
pub(crate) fn select(
    suites: &[Suite],
    named: &[String],
    side: Option<Side>,
) -> anyhow::Result<Selection> {
    let mut chosen = Vec::new();
    for word in named {
        let (name, text) = match word.split_once("::") {
            Some((name, text)) => (name, Some(text.to_owned())),
            None => (word.as_str(), None),
        };
        if !suites.iter().any(|suite| suite.name == name) {
            let names: Vec<_> = suites.iter().map(|suite| suite.name.as_str()).collect();
            let names = names.join(", ");
            bail!("there is no suite {name:?}; the suites are {names}");
        }
        chosen.push(tests_of_suite(name, text));
    }
    if named.is_empty() {
        let with_sides = suites.iter().filter(|suite| suite.manifest.has_sides());
        chosen.extend(with_sides.map(|suite| tests_of_suite(&suite.name, None)));
    }
    let is_chosen = |suite: &&Suite| {
        let mut packages = chosen.iter().filter_map(|chosen| chosen.package.as_ref());
        packages.any(|package| *package == suite.name)
    };
    Ok(Selection {
        packages: packages(suites.iter().filter(is_chosen))?,
        chosen,
        side,
    })
}

/// All tests of these suites, including those without sides.
pub(crate) fn everything(suites: &[Suite]) -> anyhow::Result<Selection> {
    Ok(Selection::everything(packages(suites.iter())?))
}

fn packages<'a>(suites: impl Iterator<Item = &'a Suite>) -> anyhow::Result<Vec<Package>> {
    suites.map(Suite::package).collect()
}

fn tests_of_suite(name: &str, text: Option<String>) -> Chosen {
    Chosen {
        package: Some(name.to_owned()),
        text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::tests::suite;

    fn two_suites() -> Vec<Suite> {
        vec![
            suite("image-gc", "1.7.0", "1.7.1"),
            suite("selfcheck", "-", "-"),
        ]
    }

    fn names(selection: &Selection) -> Vec<&str> {
        let packages = selection.packages.iter();
        packages.map(|package| package.name.as_str()).collect()
    }

    #[test]
    fn without_a_name_the_suites_with_sides_run() {
        let selection = select(&two_suites(), &[], None).unwrap();
        assert_eq!(names(&selection), ["image-gc"]);
        assert_eq!(selection.chosen, [tests_of_suite("image-gc", None)]);
        assert_eq!(
            names(&everything(&two_suites()).unwrap()),
            ["image-gc", "selfcheck"]
        );
    }

    #[test]
    fn the_text_follows_the_name() {
        let named = ["image-gc::fixed::a", "image-gc", "selfcheck"].map(str::to_owned);
        let selection = select(&two_suites(), &named, Some(Side::Fixed)).unwrap();
        let text = Some("fixed::a".to_owned());
        assert_eq!(selection.chosen[0], tests_of_suite("image-gc", text));
        assert_eq!(names(&selection), ["image-gc", "selfcheck"]);
        assert_eq!(selection.side, Some(Side::Fixed));
    }

    #[test]
    fn an_unknown_suite_names_the_known_ones() {
        let error = select(&two_suites(), &["imgae-gc".to_owned()], None).unwrap_err();
        insta::assert_snapshot!(
            error,
            @r#"there is no suite "imgae-gc"; the suites are image-gc, selfcheck"#
        );
    }
}
