//! Control does not queue behind work: what lasts has places, and nothing else needs one.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use treewarden_service::{Code, LASTING, WAITING};

use super::support::{Door, World};

/// Has somebody ask this through each door, and waits until each was told something.
async fn callers(world: &Arc<World>, doors: Vec<Door>, request: &Value) -> (Vec<Door>, JoinSet<()>) {
    let mut tasks = JoinSet::new();
    for door in &doors {
        let (world, request, mut door) = (Arc::clone(world), request.clone(), door.clone());
        tasks.spawn(async move {
            let _told_or_gone = world.tell(request, &mut door).await;
        });
    }
    for door in &doors {
        door.is_told().await;
    }
    (doors, tasks)
}

fn doors(count: usize) -> Vec<Door> {
    (0..count).map(|_| Door::default()).collect()
}

async fn gone(doors: Vec<Door>, mut tasks: JoinSet<()>) {
    doors.iter().for_each(Door::leave);
    while let Some(task) = tasks.join_next().await {
        task.expect("no panic");
    }
}

#[tokio::test]
async fn control_is_answered_while_every_place_is_taken_and_every_wait() {
    let world = Arc::new(World::of(&["a", "b"]).await);
    // Something is kept, so that a follower is told that it is served.
    world.ask(json!({ "op": "stop", "name": "b" })).await.expect("stopped");
    let follow = json!({ "op": "events", "follow": true });
    let (served, followers) = callers(&world, doors(LASTING), &follow).await;
    let (waiting, waiters) = callers(&world, doors(WAITING), &follow).await;
    let refused = world.ask(follow).await.expect_err("all wait already");
    assert_eq!(refused.code, Code::Busy);
    for request in [
        json!({ "op": "ps" }),
        json!({ "op": "tree" }),
        json!({ "op": "events" }),
        json!({ "op": "interrupt", "name": "a" }),
        json!({ "op": "restart", "name": "a" }),
        json!({ "op": "stop", "name": "a" }),
        json!({ "op": "start", "name": "b" }),
    ] {
        world.ask(request.clone()).await.unwrap_or_else(|refusal| panic!("{request}: {refusal}"));
    }
    gone(served, followers).await;
    gone(waiting, waiters).await;
    Arc::into_inner(world).expect("nobody asks").end().await;
}

#[tokio::test]
async fn whoever_does_not_take_its_end_keeps_its_place_and_not_that_of_control() {
    let world = Arc::new(World::of(&["a"]).await);
    let ask = json!({ "op": "ask", "name": "nobody", "prompt": "x" });
    let never_take = (0..LASTING).map(|_| Door::without_an_end()).collect();
    let (ended, tasks) = callers(&world, never_take, &ask).await;
    let (waiting, waits) = callers(&world, doors(1), &ask).await;
    assert!(ended.iter().all(|door| door.items().is_empty()), "none of them had to wait");
    assert_eq!(waiting[0].items()[0]["type"], "waiting");
    assert_eq!(world.state("a").await, "parked", "control is answered");
    gone(ended, tasks).await;
    // The place of one that went is this one's, who is told its end.
    waiting[0].is_told().await;
    assert_eq!(waiting[0].end().expect_err("refused").code, Code::NoSuchSession);
    gone(waiting, waits).await;
    Arc::into_inner(world).expect("nobody asks").end().await;
}
