//! A shard beside other tasks of its core.

use super::rig::*;
use crate::types::Limits;
use glommio::LocalExecutorBuilder;
use glommio::timer::sleep;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn other_tasks_of_the_executor_run_beside_a_shard() {
    let executor = LocalExecutorBuilder::default().make().expect("io_uring works here");
    let mut rig = Rig::new(1, &Limits::default());
    let (shard, stop) = (rig.shards.pop().expect("one"), Arc::clone(&rig.stop));
    executor.run(async {
        let other = glommio::spawn_local(async move {
            for _ in 0..3 {
                sleep(Duration::from_millis(1)).await;
            }
            stop.raise();
        });
        // It ends because the other task could raise the stop.
        Box::pin(shard.run()).await;
        other.await;
    });
}
