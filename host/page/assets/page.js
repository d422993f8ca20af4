// Takes up what changes of a page, as the host tells it (server-sent events), and says how long ago times are. Everything works without it.
"use strict";
(() => {
  const policy = window.trustedTypes ? trustedTypes.createPolicy("page", { createHTML: (html) => html }) : { createHTML: (html) => html };

  // morph makes an element as another is, and leaves alone what is the same: the focus, a selection, what is open.
  function morph(old, fresh) {
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || old.id !== fresh.id) {
      old.replaceWith(fresh);
      return;
    }
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
      return;
    }
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    const now = [...old.childNodes], next = [...fresh.childNodes];
    next.forEach((child, i) => {
      if (i < now.length) morph(now[i], child);
      else old.append(child);
    });
    now.slice(next.length).forEach((child) => child.remove());
  }

  function take(id, html) {
    const old = document.getElementById(id);
    const holder = document.createElement("template");
    holder.innerHTML = policy.createHTML(html);
    const fresh = holder.content.firstElementChild;
    if (old && fresh) morph(old, document.importNode(fresh, true));
  }

  function inWords(seconds) {
    if (seconds < 2) return "now";
    if (seconds < 120) return `${Math.floor(seconds)} s`;
    if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
    if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
    return `${Math.floor(seconds / 86400)} d`;
  }
  function tellTimes() {
    for (const time of document.querySelectorAll("time[title]")) {
      const text = inWords((Date.now() - Date.parse(time.dateTime)) / 1000);
      if (time.textContent !== text) time.textContent = text;
    }
  }

  const { live, since } = document.body.dataset;
  if (!live) return;
  setInterval(tellTimes, 5000);
  const connection = document.getElementById("connection");
  const say = (text, is) => {
    if (connection.textContent !== text) connection.textContent = text;
    connection.dataset.is = is;
  };
  let source, again, last = since;
  function listen() {
    source = new EventSource(`/ui/live?of=${encodeURIComponent(live)}&since=${last}`);
    source.addEventListener("open", () => say("live", "live"));
    source.addEventListener("change", (event) => {
      last = event.lastEventId;
      for (const [id, html] of JSON.parse(event.data)) take(id, html);
      tellTimes();
    });
    source.addEventListener("error", () => {
      say("not live", "away");
      if (source.readyState === EventSource.CLOSED) again = setTimeout(listen, 30000); // refused: others are looking
    });
  }
  // A page that nobody sees asks for nothing.
  const look = () => {
    if (document.hidden) {
      clearTimeout(again);
      source?.close();
      source = undefined;
    } else if (!source) listen();
  };
  document.addEventListener("visibilitychange", look);
  addEventListener("pagehide", () => source?.close());
  look();
})();
