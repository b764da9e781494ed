"""What superusers have beside: settings, logs, crons, backups, batch; realtime's refusals; health."""


def run(pair):
    root = "root"
    for who in (None, root):
        pair.get("/api/health", who, ignore=("realIP", "possibleProxyHeader", "canBackup"))
        pair.get("/api/settings", who)
        pair.get("/api/logs?perPage=1", who, ignore=("items", "totalItems", "totalPages"))
        pair.get("/api/logs/stats", who) if who is None else None
        pair.get("/api/logs/nothere", who)
        pair.get("/api/crons", who)
        pair.post("/api/crons/nothere", None, who)
        pair.get("/api/backups", who)
        pair.post("/api/backups", {"name": "Bad Name.zip"}, who)
        pair.delete("/api/backups/nothere.zip", who)
        pair.post("/api/backups/nothere.zip/restore", None, who)
        pair.get("/api/backups/nothere.zip", who)
        pair.call("HEAD", "/api/health", None, who)
    pair.get("/api/logs?filter=nothere=1", root, ignore=("items", "totalItems", "totalPages"))
    pair.get("/api/logs?filter=data.status=999", root)
    pair.get("/api/logs?sort=nothere", root, ignore=("items", "totalItems", "totalPages"))
    for body in ({"meta": {"appName": ""}}, {"meta": {"appURL": "nope"}}, {"meta": {"senderAddress": "nope"}}, {"smtp": {"enabled": True, "host": ""}}, {"smtp": {"port": -1}}, {"logs": {"maxDays": -1}},
                 {"backups": {"cron": "nope"}}, {"backups": {"cron": "* * * * *", "cronMaxKeep": 0}}, {"batch": {"enabled": True, "maxRequests": 0}}, {"rateLimits": {"enabled": True, "rules": []}}, {"nothere": 1},
                 {"rateLimits": {"rules": [{"label": "a b", "maxRequests": 1, "duration": 1}]}}, {"rateLimits": {"rules": [{"label": "*:list", "maxRequests": 0, "duration": 1}]}},
                 {"s3": {"enabled": True}}, {"meta": {"appName": "Kombi"}}, {"batch": {"enabled": True, "maxRequests": 5, "timeout": 3, "maxBodySize": 0}}):
        pair.patch("/api/settings", body, root)
    batches(pair, root)
    for body in ({}, {"clientId": "x", "subscriptions": []}, {"clientId": "", "subscriptions": ["a"]}):
        pair.post("/api/realtime", body)
    for path in ("/api/files/nothere/x/y", "/api/files/docs/x/y", "/api/nothere", "/api/collections/docs/records/x/y"):
        pair.get(path)


def batches(pair, root):
    pair.post("/api/collections", {"name": "lots", "fields": [{"name": "title", "type": "text", "required": True}], "createRule": "", "updateRule": "", "viewRule": "", "listRule": "", "deleteRule": "@request.context = 'batch'"}, root)
    path = "/api/collections/lots/records"

    def one(method, number=None, **body):
        return {"method": method, "url": path + (f"/lot00000000000{number}" if number else ""), "body": body}
    for requests in ([], [one("POST", id="lot000000000001", title="a")], [one("POST", title="")], [one("POST", id="lot000000000002", title="b"), one("POST", title="")], [one("GET")], [one("PATCH", 1, title="c"), one("DELETE", 1)],
                     [one("PUT", id="lot000000000003", title="d")], [one("PUT", id="lot000000000003", title="e")], [one("PUT", title="f")], [one("POST", id=f"lot00000000001{i}", title="x") for i in range(6)],
                     [{"method": "POST", "url": "/api/collections/nothere/records", "body": {}}], [{"method": "POST", "url": "/api/settings", "body": {}}], [{"method": "DELETE", "url": path + "/nothere"}], [{}], "x",
                     [{"method": "POST", "url": path + "?fields=id&expand=x", "body": {"id": "lot000000000004", "title": "g"}, "headers": {"X-A": "b"}}]):
        pair.post("/api/batch", {"requests": requests}, ignore=("id",) if "f" in str(requests)[-12:] else ())
    pair.get(path + "?sort=id&filter=id~'lot'")
    pair.patch("/api/settings", {"batch": {"enabled": False}}, root)
    pair.post("/api/batch", {"requests": []})
