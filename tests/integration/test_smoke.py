async def test_events_count_once(client) -> None:
    event = {"event_id": "e1", "user_id": "u", "item_id": "i", "type": "purchase"}
    first = await client.post("/events", json=[event, event])
    assert first.status_code == 200, first.text
    assert first.json()["accepted"] == 1
    assert first.json()["duplicates"] == 1
    again = await client.post("/events", json=event)
    assert again.json()["duplicates"] == 1
    answer = await client.get("/users/u/events")
    assert len(answer.json()["items"]) == 1
    listed = await client.post("/recommend", json={"k": 3})
    assert listed.json()["items"][0]["item_id"] == "i"
