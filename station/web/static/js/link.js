// The stream: server-sent events, watched. A silence longer than the heartbeats allow counts as lost, and is retried here,
// because a browser may hold a dead connection open for minutes.
const EVENTS = ["link", "status", "state", "health", "stride", "cue", "live", "summary", "report", "start", "log"];

export function openLink({ heartbeatS, onNews, onSnapshot, onOnline }) {
  let source;
  let lastMs = 0;
  let online = false;
  let retryMs = 500;

  const alive = () => {
    lastMs = performance.now();
    retryMs = 500;
    if (!online) onOnline((online = true));
  };
  const parse = (text) => {
    try { return JSON.parse(text); } catch { return undefined; }
  };
  const connect = () => {
    source?.close();
    source = new EventSource("/events");
    lastMs = performance.now();
    source.addEventListener("snapshot", (event) => {
      const items = parse(event.data);
      alive();
      if (items) onSnapshot(items);
    });
    source.addEventListener("beat", alive);
    for (const name of EVENTS) {
      source.addEventListener(name, (event) => {
        const data = parse(event.data);
        alive();
        if (data !== undefined) onNews(name, data);
      });
    }
    source.onerror = () => lost();
  };
  const lost = () => {
    source.close();
    if (online) onOnline((online = false));
    setTimeout(connect, retryMs);
    retryMs = Math.min(5000, retryMs * 2);
    lastMs = Infinity;
  };
  setInterval(() => {
    if (performance.now() - lastMs > heartbeatS * 2500) lost();
  }, 500);
  connect();
}
