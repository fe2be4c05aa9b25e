//! The recorded reviews, and ways to find one by what is in it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// Every recorded review below `tests/corpus`, by file name.
pub(crate) fn corpus() -> Vec<(String, Value)> {
    let mut files = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/corpus"), &mut files);
    let mut reviews: Vec<_> = files
        .into_iter()
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, serde_json::from_slice::<Value>(&fs::read(&path).unwrap()).unwrap())
        })
        .collect();
    reviews.sort_by(|(a, _), (b, _)| a.cmp(b));
    assert!(!reviews.is_empty(), "tests/corpus holds no recorded review");
    reviews
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
}

/// The first CREATE of this kind that the manifest of this name led to, moved into namespace `shop`.
pub(crate) fn created(kind: &str, app: &str) -> Value {
    let is_wanted = |review: &Value| {
        let request = &review["request"];
        let metadata = &request["object"]["metadata"];
        request["operation"] == "CREATE"
            && request["kind"]["kind"] == kind
            && (metadata["name"] == app || kind == "Pod" && metadata["labels"]["app"] == app)
    };
    let (_, mut review) = corpus().into_iter().find(|(_, review)| is_wanted(review)).unwrap();
    review["request"]["namespace"] = "shop".into();
    review
}
