//! The map as one page that loads nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::places::Place;
use super::world::LAND;

/// Names listed at one point; the list below has all of them.
const NAMES: usize = 20;

/// A page titled `title`.
pub(super) fn page(title: &str, places: &[Place]) -> String {
    let title = escaped(title);
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src \
         'unsafe-inline'\">\n<title>{title}</title>\n<style>\nbody {{ font-family: sans-serif; \
         margin: 1em; }}\nsvg {{ width: 100%; background: #d8e6f0; }}\n.land {{ fill: #f4f1e8; \
         stroke: #a9a494; stroke-width: 0.3; }}\n.point {{ fill: #c0392b; fill-opacity: 0.75; \
         stroke: #fff; stroke-width: 0.2; }}\n.none {{ fill: #2c6fa6; }}\n</style>\n</head>\n\
         <body>\n<h1>{title}</h1>\n<svg viewBox=\"0 0 360 180\" role=\"img\">\n"
    );
    for outline in LAND {
        let mut points = String::new();
        for (longitude, latitude) in *outline {
            let _ = write!(points, "{},{} ", longitude + 180, 90 - latitude);
        }
        let _ = writeln!(page, "<polygon class=\"land\" points=\"{}\"/>", points.trim_end());
    }
    for (at, here) in clusters(places) {
        point(&mut page, at, &here);
    }
    page.push_str("</svg>\n<ol>\n");
    for place in places {
        let _ = writeln!(
            page,
            "<li>{}: found={}{}</li>",
            escaped(&place.endpoint),
            place.foundanything,
            whereabouts(place)
        );
    }
    page.push_str("</ol>\n</body>\n</html>\n");
    page
}

/// Places that lie on one another, in tenths of a degree.
fn clusters(places: &[Place]) -> BTreeMap<(i32, i32), Vec<&Place>> {
    let mut clusters: BTreeMap<(i32, i32), Vec<&Place>> = BTreeMap::new();
    for place in places {
        #[expect(clippy::cast_possible_truncation, reason = "degrees of a place on earth")]
        let tenths = |degrees: f64| (degrees * 10.0).round() as i32;
        clusters.entry((tenths(place.longitude), tenths(place.latitude))).or_default().push(place);
    }
    clusters
}

fn point(page: &mut String, (longitude, latitude): (i32, i32), here: &[&Place]) {
    let x = f64::from(longitude) / 10.0 + 180.0;
    let y = 90.0 - f64::from(latitude) / 10.0;
    let count = u32::try_from(here.len()).unwrap_or(u32::MAX);
    let radius = (0.8 + f64::from(count).sqrt() * 0.4).min(6.0);
    let class = if here.iter().any(|place| place.foundanything) { "point" } else { "point none" };
    let mut names: Vec<String> =
        here.iter().take(NAMES).map(|place| escaped(&place.endpoint)).collect();
    if here.len() > NAMES {
        names.push(format!("and {} more", here.len() - NAMES));
    }
    let place = here.first().map(|place| whereabouts(place)).unwrap_or_default();
    let _ = writeln!(
        page,
        "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\"><title>{}{place}\
         </title></circle>",
        names.join(", ")
    );
}

fn whereabouts(place: &Place) -> String {
    match (place.city.is_empty(), place.country.is_empty()) {
        (true, true) => String::new(),
        (true, false) => format!(" ({})", escaped(&place.country)),
        (false, true) => format!(" ({})", escaped(&place.city)),
        (false, false) => format!(" ({}, {})", escaped(&place.city), escaped(&place.country)),
    }
}

/// Text of agents, which may hold anything, as the text of a page.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(endpoint: &str, longitude: f64, latitude: f64, foundanything: bool) -> Place {
        let (endpoint, city) = (endpoint.to_owned(), "Oslo".to_owned());
        Place { endpoint, foundanything, latitude, longitude, city, ..Place::default() }
    }

    #[test]
    fn a_page_loads_nothing_and_runs_nothing_of_an_agent() {
        let hostile = "<script src=\"https://evil.example.net/x\">\u{1b}[2J";
        let page = page("Geolocation of 'found'", &[place(hostile, 10.7, 59.9, true)]);
        assert!(!page.contains("<script") && !page.contains('\u{1b}'), "{page}");
        let list = "<li>&lt;script src=&quot;https://evil.example.net/x&quot;&gt;\u{fffd}[2J: \
                    found=true (Oslo)</li>";
        assert!(page.contains(list), "{page}");
        assert!(page.contains("default-src 'none'"), "{page}");
        for loading in [" src=\"", " href=", "url(", "@import", "<link"] {
            assert!(!page.contains(loading), "{loading}");
        }
    }

    #[test]
    fn agents_at_one_place_are_one_point_and_all_in_the_list() {
        let mut places: Vec<Place> =
            (0..30).map(|number| place(&format!("web{number}"), 10.70, 59.91, false)).collect();
        places.push(place("db1", -74.0, 40.7, true));
        let page = page("t", &places);
        assert_eq!(page.matches("<circle").count(), 2, "{page}");
        assert_eq!(page.matches("<li>").count(), 31);
        assert!(page.contains("class=\"point\" cx=\"106.0\" cy=\"49.3\" r=\"1.2\"><title>db1"));
        assert!(page.contains("class=\"point none\" cx=\"190.7\" cy=\"30.1\""), "{page}");
        assert!(page.contains("web19, and 10 more (Oslo)"), "{page}");
    }
}
