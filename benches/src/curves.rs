//! The picture in benches/README.md: what a stanza costs by how many are kept, and a lookup by how many sessions there are.

use std::error::Error;

use plotters::prelude::*;

use crate::pair::Row;
use crate::{stanzas, store};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/curves.svg");
const FLOOR: RGBColor = RGBColor(140, 140, 140);
const COST: RGBColor = RGBColor(20, 90, 170);

pub fn draw() -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(FILE, (960, 360)).into_drawing_area();
    root.fill(&WHITE)?;
    let (left, right) = root.split_horizontally(480);
    panel(&left, "a stanza sent and acknowledged", "stanzas kept", "a bare ring", &stanzas::curve())?;
    panel(&right, "an SM-ID looked up", "sessions", "one HashMap, one lock", &store::curve())?;
    root.present()?;
    println!("{FILE}");
    Ok(())
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn panel(area: &Area, title: &str, of: &str, floor: &str, rows: &[(u32, Row)]) -> Result<(), Box<dyn Error>> {
    let (first, last) = (rows.first().ok_or("no rows")?.0, rows.last().ok_or("no rows")?.0);
    let most = rows.iter().map(|(_, row)| row.floor.max(row.cost)).fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .margin_right(32)
        .x_label_area_size(42)
        .y_label_area_size(52)
        .build_cartesian_2d((first..last).log_scale(), 0.0..most * 1.5)?;
    chart.configure_mesh().disable_x_mesh().x_desc(of).y_desc("nanoseconds").light_line_style(TRANSPARENT).draw()?;
    for (name, color, value) in
        [(floor, FLOOR, (|row| row.floor) as fn(&Row) -> f64), ("xmpp-sm", COST, |row| row.cost)]
    {
        let points: Vec<(u32, f64)> = rows.iter().map(|(n, row)| (*n, value(row))).collect();
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, color.filled())))?;
        chart
            .draw_series(LineSeries::new(points, color.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE)
        .border_style(TRANSPARENT)
        .draw()?;
    Ok(())
}
