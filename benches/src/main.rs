//! What stream management costs, each row beside its floor: `cargo run --release --manifest-path benches/Cargo.toml --bin
//! floors [stanzas] [wire] [store]`, or `curves` for the picture in benches/README.md.

mod curves;
mod pair;
mod stanzas;
mod store;
mod wire;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    if wanted == ["curves"] {
        return curves::draw().expect("a picture");
    }
    type Room = (&'static str, &'static str, fn() -> Vec<pair::Row>);
    let rooms: [Room; 3] = [
        ("stanzas", "Stanzas and acknowledgements", stanzas::rows),
        ("wire", "Reading and writing", wire::rows),
        ("store", "MemoryStore, against a HashMap behind one lock", store::rows),
    ];
    for (name, title, rows) in rooms {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            pair::print(title, &rows());
        }
    }
}
