//! The same parts by the clock: what a count of instructions does not know of, such as memory
//! that is far away.

use criterion::{Criterion, criterion_group, criterion_main};
use switchboard::benchmarks::parts;

fn time(criterion: &mut Criterion) {
    for mut part in parts() {
        criterion.bench_function(part.name, |bencher| bencher.iter(|| (part.run)()));
    }
}

criterion_group!(layers, time);
criterion_main!(layers);
