//! User instructions of each part of a call, counted by valgrind: the same from run to run,
//! whatever else the machine is doing.

use std::hint::black_box;

use gungraun::{library_benchmark, library_benchmark_group, main};
use switchboard::benchmarks::{Part, parts};

/// The part, once run: pools, tokens and what is made at first use are there.
fn warm(name: &str) -> Part {
    let mut part = parts()
        .into_iter()
        .find(|part| part.name == name)
        .unwrap_or_else(|| panic!("no part is called {name:?}"));
    (part.run)();
    part
}

#[library_benchmark(setup = warm)]
#[bench::nothing("nothing")]
#[bench::stack_genesys("stack: UpdateUserData")]
#[bench::stack_genesys_measured("stack: UpdateUserData, measured")]
#[bench::stack_aicc("stack: create")]
#[bench::stack_aicc_measured("stack: create, measured")]
#[bench::warm_token("token: warm")]
#[bench::refused("error: refused by the vendor")]
#[bench::unknown("error: outcome unknown")]
#[bench::encode_attach("encode: AttachUserData")]
#[bench::encode_update("encode: UpdateUserData")]
#[bench::encode_delete("encode: DeleteUserData")]
#[bench::encode_get("encode: GetSession")]
#[bench::encode_list("encode: ListSessions")]
#[bench::encode_aicc_create("encode: create")]
#[bench::encode_aicc_update("encode: update")]
#[bench::encode_aicc_query("encode: query")]
#[bench::encode_aicc_delete("encode: delete")]
#[bench::decode_attach("decode: AttachUserData")]
#[bench::decode_update("decode: UpdateUserData")]
#[bench::decode_delete("decode: DeleteUserData")]
#[bench::decode_get("decode: GetSession")]
#[bench::decode_list("decode: ListSessions")]
#[bench::decode_aicc_create("decode: create")]
#[bench::decode_aicc_update("decode: update")]
#[bench::decode_aicc_query("decode: query")]
#[bench::decode_aicc_delete("decode: delete")]
fn part(mut part: Part) -> Part {
    (part.run)();
    // Given back, so that taking it down is not counted.
    black_box(part)
}

library_benchmark_group!(name = layers, benchmarks = part);
main!(library_benchmark_groups = layers);
