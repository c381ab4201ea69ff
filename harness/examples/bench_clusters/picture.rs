//! The median boot of kubenest and of kind, one below the other on one scale, as SVG.
//!
//! The picture is readable on a light and a dark page. Every text goes through [`text`], so that a
//! name cannot become markup.

use std::fmt::Write;

use crate::reading::{FIRST_LINE, Measurement, Reading, Stage};

const STYLE: &str = include_str!("picture.css");
/// The mark that counts.
const FIRST: &str = "first line of a test";
const COLOURS: usize = 8;
/// In pixels. Right of the time axis there is room for the longest name of a mark.
const WIDTH: f64 = 960.0;
const LEFT: f64 = 16.0;
const AXIS: f64 = 730.0;
const ROW: f64 = 19.0;
const BAR: f64 = 28.0;
/// The width of a letter, to know which names fit into their bar.
const LETTER: f64 = 7.5;

/// One boot: what it did one after the other, and when it got where.
struct Lane {
    name: String,
    stages: Vec<Stage>,
    marks: [(&'static str, f64); 4],
}

/// The scale of the time axis.
#[derive(Clone, Copy)]
struct Scale {
    seconds: f64,
}

/// Draws the boot of each whose first line of a test came at the median.
pub(crate) fn of(measurement: &Measurement) -> String {
    let ours = median_boot(&measurement.kubenest);
    let kinds = median_boot(&measurement.kind);
    let kind = format!("kind v{}", measurement.kind_version);
    let title = format!(
        "Cold boot of {}, {}",
        measurement.setup.recipe,
        measurement.setup.describe()
    );
    let lanes = [
        Lane::new("kubenest".into(), ours, our_stages(ours)),
        Lane::new(kind, kinds, kinds_stages(kinds)),
    ];
    draw(&title, &lanes)
}

/// The boot in the middle; of an even number of them, the faster of the middle two.
fn median_boot(readings: &[Reading]) -> &Reading {
    let mut sorted: Vec<&Reading> = readings.iter().collect();
    let (_, first_line) = FIRST_LINE;
    sorted.sort_by(|a, b| first_line(a).total_cmp(&first_line(b)));
    sorted[(sorted.len() - 1) / 2]
}

fn our_stages(reading: &Reading) -> Vec<Stage> {
    let case = Stage {
        name: "case opens".into(),
        seconds: reading.first_line_seconds - reading.done_seconds,
    };
    reading.stages.iter().cloned().chain([case]).collect()
}

fn kinds_stages(reading: &Reading) -> Vec<Stage> {
    let stage = |name: &str, seconds| Stage {
        name: name.into(),
        seconds,
    };
    let rest = reading.first_line_seconds - reading.done_seconds;
    vec![
        stage("kind create cluster", reading.done_seconds),
        stage("until the first pod", rest),
    ]
}

impl Lane {
    fn new(name: String, reading: &Reading, stages: Vec<Stage>) -> Self {
        let mut marks = [
            ("API ready", reading.api_ready_seconds),
            ("node Ready", reading.node_ready_seconds),
            ("first pod Ready", reading.pod_ready_seconds),
            (FIRST, reading.first_line_seconds),
        ];
        marks.sort_by(|(_, a), (_, b)| a.total_cmp(b));
        Self {
            name,
            stages,
            marks,
        }
    }

    fn end(&self) -> f64 {
        let stages: f64 = self.stages.iter().map(|stage| stage.seconds).sum();
        self.marks.iter().map(|(_, at)| *at).fold(stages, f64::max)
    }

    /// How long each stage took, in rows, without those that took no time.
    fn legend(&self) -> Vec<String> {
        let long = self.stages.iter().enumerate();
        let long: Vec<_> = long.filter(|(_, stage)| stage.seconds >= 0.05).collect();
        let rows = long.chunks(COLOURS);
        let word = |(at, stage): &(usize, &Stage)| {
            let (colour, name, seconds) = (at % COLOURS, text(&stage.name), stage.seconds);
            format!("<tspan class=\"c{colour}\">\u{25a0}</tspan> {name} {seconds:.1}")
        };
        rows.map(|row| row.iter().map(word).collect::<Vec<_>>().join("\u{2002}"))
            .collect()
    }

    fn height(&self) -> f64 {
        ROW + BAR + ROW * (self.marks.len() + 2 + self.legend().len()) as f64
    }
}

impl Scale {
    fn of(lanes: &[Lane]) -> Self {
        let longest = lanes.iter().map(Lane::end).fold(1.0, f64::max);
        Self { seconds: longest }
    }

    fn x(self, seconds: f64) -> f64 {
        LEFT + AXIS * seconds / self.seconds
    }

    /// Every how many seconds there is a line.
    fn step(self) -> usize {
        let steps = [1, 2, 5, 10, 20, 50];
        let fits = |step: &usize| self.seconds / (*step as f64) <= 12.0;
        steps.into_iter().find(fits).unwrap_or(100)
    }
}

fn draw(title: &str, lanes: &[Lane]) -> String {
    let scale = Scale::of(lanes);
    let top = 2.5 * ROW;
    let bottom = top + lanes.iter().map(Lane::height).sum::<f64>();
    let height = bottom + 1.5 * ROW;
    let title = text(title);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH:.0} {height:.0}\" \
         width=\"{WIDTH:.0}\" height=\"{height:.0}\" role=\"img\">\n<title>{title}</title>\n\
         <style>\n{STYLE}</style>\n\
         <rect class=\"back\" width=\"{WIDTH:.0}\" height=\"{height:.0}\"/>\n\
         <text class=\"head\" x=\"{LEFT:.0}\" y=\"{:.0}\">{title}</text>\n",
        1.5 * ROW
    );
    for second in (0..=scale.seconds as usize).step_by(scale.step()) {
        let x = scale.x(second as f64);
        let _ = writeln!(
            svg,
            "<path class=\"grid\" d=\"M{x:.1} {top:.1}V{bottom:.1}\"/>\
             <text class=\"quiet\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{second} s</text>",
            bottom + ROW
        );
    }
    let mut y = top;
    for lane in lanes {
        svg.push_str(&draw_lane(lane, scale, y));
        y += lane.height();
    }
    svg + "</svg>\n"
}

/// A lane at this height: its name, its stages as bars, its marks, and how long each stage took.
fn draw_lane(lane: &Lane, scale: Scale, top: f64) -> String {
    let bar = top + ROW;
    let mut svg = format!(
        "<text class=\"head\" x=\"{LEFT:.0}\" y=\"{:.1}\">{}</text>\n",
        bar - 6.0,
        text(&lane.name)
    );
    svg.push_str(&draw_stages(lane, scale, bar));
    svg.push_str(&draw_marks(lane, scale, bar));
    for (row, told) in lane.legend().iter().enumerate() {
        let y = bar + BAR + ROW * ((lane.marks.len() + row) as f64 + 1.5);
        let _ = writeln!(
            svg,
            "<text class=\"quiet\" x=\"{LEFT:.0}\" y=\"{y:.1}\">{told}</text>"
        );
    }
    svg
}

/// The stages as bars, with their names where these fit.
fn draw_stages(lane: &Lane, scale: Scale, bar: f64) -> String {
    let (mut begin, mut svg) = (0.0, String::new());
    for (at, stage) in lane.stages.iter().enumerate() {
        let (name, colour, seconds) = (text(&stage.name), at % COLOURS, stage.seconds);
        let (x, width) = (scale.x(begin), scale.x(seconds) - LEFT);
        let _ = writeln!(
            svg,
            "<rect class=\"c{colour}\" x=\"{x:.1}\" y=\"{bar:.1}\" width=\"{width:.1}\" \
             height=\"{BAR:.0}\"><title>{name} {seconds:.2} s</title></rect>"
        );
        if width > LETTER * stage.name.chars().count() as f64 + 8.0 {
            let (x, y) = (x + 5.0, bar + BAR / 2.0 + 5.0);
            let _ = writeln!(
                svg,
                "<text class=\"in\" x=\"{x:.1}\" y=\"{y:.1}\">{name}</text>"
            );
        }
        begin += seconds;
    }
    svg
}

/// The marks, each with a line through the bars to its name. The last one has the highest row, so
/// that no line crosses a name.
fn draw_marks(lane: &Lane, scale: Scale, bar: f64) -> String {
    let mut svg = String::new();
    for (row, (name, at)) in lane.marks.iter().rev().enumerate() {
        let (x, y) = (scale.x(*at), bar + BAR + ROW * (row + 1) as f64);
        let (line, name_class) = match *name == FIRST {
            true => ("mark first", "class=\"first\" "),
            false => ("mark", ""),
        };
        let _ = writeln!(
            svg,
            "<path class=\"{line}\" d=\"M{x:.1} {:.1}V{y:.1}\"/>\
             <text {name_class}x=\"{:.1}\" y=\"{y:.1}\">{name} {at:.1} s</text>",
            bar - 3.0,
            x + 5.0
        );
    }
    svg
}

/// The text with everything that means something in XML escaped; control characters, which XML
/// does not allow, are left out.
fn text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars().filter(|letter| !letter.is_control()) {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::tests::measurement;

    fn small() -> Measurement {
        let mut small = measurement(&[8.0, 10.0, 20.0]);
        for reading in &mut small.kubenest {
            let stage = |name: &str, share| Stage {
                name: name.into(),
                seconds: reading.done_seconds * share,
            };
            reading.stages = vec![
                stage("containers", 0.25),
                stage("network", 0.01),
                stage("init", 0.74),
            ];
        }
        small
    }

    #[test]
    fn the_median_boots_are_drawn_stage_by_stage() {
        let drawn = of(&small()).replace(STYLE, "");
        insta::assert_snapshot!(drawn, @r#"
        <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 436" width="960" height="436" role="img">
        <title>Cold boot of v1, 1 node, 1 at once</title>
        <style>
        </style>
        <rect class="back" width="960" height="436"/>
        <text class="head" x="16" y="28">Cold boot of v1, 1 node, 1 at once</text>
        <path class="grid" d="M16.0 47.5V407.5"/><text class="quiet" x="16.0" y="426.5" text-anchor="middle">0 s</text>
        <path class="grid" d="M89.0 47.5V407.5"/><text class="quiet" x="89.0" y="426.5" text-anchor="middle">2 s</text>
        <path class="grid" d="M162.0 47.5V407.5"/><text class="quiet" x="162.0" y="426.5" text-anchor="middle">4 s</text>
        <path class="grid" d="M235.0 47.5V407.5"/><text class="quiet" x="235.0" y="426.5" text-anchor="middle">6 s</text>
        <path class="grid" d="M308.0 47.5V407.5"/><text class="quiet" x="308.0" y="426.5" text-anchor="middle">8 s</text>
        <path class="grid" d="M381.0 47.5V407.5"/><text class="quiet" x="381.0" y="426.5" text-anchor="middle">10 s</text>
        <path class="grid" d="M454.0 47.5V407.5"/><text class="quiet" x="454.0" y="426.5" text-anchor="middle">12 s</text>
        <path class="grid" d="M527.0 47.5V407.5"/><text class="quiet" x="527.0" y="426.5" text-anchor="middle">14 s</text>
        <path class="grid" d="M600.0 47.5V407.5"/><text class="quiet" x="600.0" y="426.5" text-anchor="middle">16 s</text>
        <path class="grid" d="M673.0 47.5V407.5"/><text class="quiet" x="673.0" y="426.5" text-anchor="middle">18 s</text>
        <path class="grid" d="M746.0 47.5V407.5"/><text class="quiet" x="746.0" y="426.5" text-anchor="middle">20 s</text>
        <text class="head" x="16" y="60.5">kubenest</text>
        <rect class="c0" x="16.0" y="66.5" width="86.7" height="28"><title>containers 2.38 s</title></rect>
        <text class="in" x="21.0" y="85.5">containers</text>
        <rect class="c1" x="102.7" y="66.5" width="3.5" height="28"><title>network 0.10 s</title></rect>
        <rect class="c2" x="106.2" y="66.5" width="256.6" height="28"><title>init 7.03 s</title></rect>
        <text class="in" x="111.2" y="85.5">init</text>
        <rect class="c3" x="362.8" y="66.5" width="18.2" height="28"><title>case opens 0.50 s</title></rect>
        <path class="mark first" d="M381.0 63.5V113.5"/><text class="first" x="386.0" y="113.5">first line of a test 10.0 s</text>
        <path class="mark" d="M289.8 63.5V132.5"/><text x="294.8" y="132.5">first pod Ready 7.5 s</text>
        <path class="mark" d="M216.8 63.5V151.5"/><text x="221.8" y="151.5">node Ready 5.5 s</text>
        <path class="mark" d="M198.5 63.5V170.5"/><text x="203.5" y="170.5">API ready 5.0 s</text>
        <text class="quiet" x="16" y="199.0"><tspan class="c0">■</tspan> containers 2.4 <tspan class="c1">■</tspan> network 0.1 <tspan class="c2">■</tspan> init 7.0 <tspan class="c3">■</tspan> case opens 0.5</text>
        <text class="head" x="16" y="240.5">kind v0.33.0</text>
        <rect class="c0" x="16.0" y="246.5" width="693.5" height="28"><title>kind create cluster 19.00 s</title></rect>
        <text class="in" x="21.0" y="265.5">kind create cluster</text>
        <rect class="c1" x="709.5" y="246.5" width="36.5" height="28"><title>until the first pod 1.00 s</title></rect>
        <path class="mark first" d="M746.0 243.5V293.5"/><text class="first" x="751.0" y="293.5">first line of a test 20.0 s</text>
        <path class="mark" d="M563.5 243.5V312.5"/><text x="568.5" y="312.5">first pod Ready 15.0 s</text>
        <path class="mark" d="M417.5 243.5V331.5"/><text x="422.5" y="331.5">node Ready 11.0 s</text>
        <path class="mark" d="M381.0 243.5V350.5"/><text x="386.0" y="350.5">API ready 10.0 s</text>
        <text class="quiet" x="16" y="379.0"><tspan class="c0">■</tspan> kind create cluster 19.0 <tspan class="c1">■</tspan> until the first pod 1.0</text>
        </svg>
        "#);
    }

    #[test]
    fn what_a_name_says_is_no_markup() {
        let mut hostile = small();
        hostile.kind_version = "0\u{7}</text><script>&\"'".into();
        let drawn = of(&hostile);
        let escaped = "kind v0&lt;/text&gt;&lt;script&gt;&amp;&quot;&#39;";
        assert!(drawn.contains(escaped), "{drawn}");
    }
}
