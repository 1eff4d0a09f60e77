//! What images take of the disk, for `docker system df`.

use std::collections::HashMap;

use super::{
    list::{ListQuery, Summary, summaries},
    prune::layer_sizes,
    remove::chains_of,
};
use crate::{engine::Engine, error::ApiError};

/// All images with who uses them and what they share, and the bytes of all
/// their layers.
pub(crate) fn usage(engine: &Engine) -> Result<(Vec<Summary>, u64), ApiError> {
    let mut list = summaries(engine, &ListQuery::default())?;
    let held = engine.images.locked();
    let mut holders: HashMap<String, usize> = HashMap::new();
    for image in list.iter().filter_map(|summary| held.images.get(&summary.id)) {
        for chain in chains_of(image) {
            *holders.entry(chain.to_string()).or_default() += 1;
        }
    }
    let sizes = layer_sizes(held.images.values());
    for summary in &mut list {
        let Some(image) = held.images.get(&summary.id) else { continue };
        let shared = chains_of(image)
            .into_iter()
            .map(|chain| chain.to_string())
            .filter(|chain| holders.get(chain).is_some_and(|count| *count > 1))
            .filter_map(|chain| sizes.get(&chain));
        summary.shared_size = shared.sum::<u64>() as i64;
        let containers = engine.containers.all();
        let users = containers.iter().filter(|container| container.locked().image == summary.id);
        summary.containers = users.count() as i64;
    }
    Ok((list, sizes.values().sum()))
}
