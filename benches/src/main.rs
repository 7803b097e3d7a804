//! What stream management costs, each row beside its floor: `cargo bench --bench floors [-- ROOM ...]`.

mod pair;
mod stanzas;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let rooms: [(&str, &str, fn() -> Vec<pair::Row>); 1] = [("stanzas", "Stanzas and acknowledgements", stanzas::rows)];
    for (name, title, rows) in rooms {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            pair::print(title, &rows());
        }
    }
}
