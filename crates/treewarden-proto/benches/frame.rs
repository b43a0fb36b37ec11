//! How long it takes to know where a line goes, beside the least that a typed parser does.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde::Deserialize;
use serde_json::value::RawValue;
use treewarden_proto::Frame;

const LINE: &[u8] = br#"{"type":"stream_event","event":{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"The quick brown fox "}},"session_id":"11111111-2222-4333-8444-555555555555","parent_tool_use_id":null,"uuid":"9b1f5f0e-8f0e-4a2e-9a0e-1f2e3d4c5b6a"}"#;

#[derive(Deserialize)]
struct Floor<'a> {
    #[serde(borrow, rename = "type")]
    kind: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    event: Option<&'a RawValue>,
}

fn text_delta(c: &mut Criterion) {
    let mut group = c.benchmark_group("a text delta");
    group.throughput(Throughput::Bytes(LINE.len() as u64));
    let line = Bytes::from_static(LINE);
    group.bench_function("floor: type and raw event", |b| {
        b.iter(|| {
            let floor: Floor<'_> = serde_json::from_slice(black_box(&line)).expect("a frame");
            floor.kind == "stream_event" && floor.event.is_some()
        });
    });
    group.bench_function("Frame::parse", |b| {
        b.iter(|| Frame::parse(black_box(line.clone())).expect("a frame"))
    });
    group.bench_function("Frame::parse and text_delta", |b| {
        b.iter(|| {
            let frame = Frame::parse(black_box(line.clone())).expect("a frame");
            frame.text_delta().map(|text| text.len())
        });
    });
    group.finish();
}

criterion_group!(benches, text_delta);
criterion_main!(benches);
