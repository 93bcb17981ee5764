// What a page gains with a script: fresh figures, running clocks, a modal dialog, copying, a kept theme.
// Everything works without it; it only ever replaces parts by what the server itself has rendered.

const page = document.body.dataset;

// ---------- parts that renew themselves ----------
// The server names the topics that changed; the page is fetched again and its parts of these topics are
// brought up to date in place, so that focus, open details and live regions stay.

const topics = new Set();
let refreshing = null;
let freshAt = Date.now();

async function refresh(...changed) {
  changed.forEach((topic) => topics.add(topic));
  if (refreshing) return refreshing;
  refreshing = (async () => {
    try {
      await new Promise((done) => setTimeout(done, 150)); // one fetch for a burst of changes
      const wanted = [...topics];
      topics.clear();
      const answer = await fetch(location.href, { headers: { "X-Live": wanted.join(" ") } });
      if (answer.redirected || answer.status === 401) return location.reload(); // the session has ended
      if (!answer.ok) return stale();
      adopt(await answer.text(), (part) => wanted.includes("all") || wanted.includes(part.dataset.live));
      fresh();
    } catch {
      stale();
    } finally {
      refreshing = null;
      if (topics.size) refresh();
    }
  })();
  return refreshing;
}

function adopt(html, isWanted) {
  const next = new DOMParser().parseFromString(html, "text/html");
  const skew = serverSkew(next.body.dataset.now);
  if (skew !== null) clockSkew = skew;
  for (const part of document.querySelectorAll("[data-live]")) {
    const renewed = isWanted(part) && next.getElementById(part.id);
    if (renewed) morph(part, renewed);
  }
  enhance(document);
}

function morph(old, next) {
  if (old.nodeType !== next.nodeType || old.nodeName !== next.nodeName || old.id !== next.id) {
    return old.replaceWith(document.importNode(next, true));
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== next.data) old.data = next.data;
    return;
  }
  if (old.contains(document.activeElement) && old.matches("input, select, textarea")) return; // being filled in
  for (const { name } of [...old.attributes]) {
    if (!next.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  const wanted = [...next.childNodes];
  for (const [index, child] of wanted.entries()) {
    const named = child.id && [...old.children].find((candidate) => candidate.id === child.id);
    const present = named || old.childNodes[index];
    if (named && old.childNodes[index] !== named) old.insertBefore(named, old.childNodes[index]);
    if (!present) old.append(document.importNode(child, true));
    else if (child.id && !named) old.insertBefore(document.importNode(child, true), present);
    else morph(present, child);
  }
  while (old.childNodes.length > wanted.length) old.lastChild.remove();
}

const staleNotice = document.getElementById("stale");

function stale() {
  if (!staleNotice?.hidden) return;
  const time = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium", timeZone: page.zone }).format(freshAt);
  staleNotice.querySelector("p").textContent =
    `Live updates stopped. These figures are from ${time} ${page.zoneLabel}; reconnecting…`;
  staleNotice.hidden = false;
}

function fresh() {
  freshAt = Date.now() - clockSkew;
  if (staleNotice) staleNotice.hidden = true;
}

async function leaveIfLoggedOut() {
  try {
    const answer = await fetch(location.href, { method: "HEAD", redirect: "manual" });
    if (answer.type === "opaqueredirect") location.reload();
  } catch {
    // no server: the notice says so already
  }
}

function listen() {
  let source, patience, retry;
  let wait = 1000;

  function connect() {
    source = new EventSource(page.events);
    source.onopen = () => {
      wait = 1000;
      refresh("all"); // whatever changed while nobody listened
    };
    source.onerror = lost;
    source.addEventListener("changed", (event) => refresh(...event.data.split(" ")));
    source.addEventListener("ping", () => {
      clearTimeout(patience);
      patience = setTimeout(lost, 45_000); // a connection may die without a word
      if (staleNotice?.hidden) freshAt = Date.now() - clockSkew;
    });
  }

  function leave() {
    clearTimeout(patience);
    clearTimeout(retry);
    source?.close();
  }

  function lost() {
    leave();
    stale();
    leaveIfLoggedOut();
    retry = setTimeout(connect, wait + Math.random() * 500);
    wait = Math.min(wait * 2, 30_000);
  }

  // A browser opens only six connections to a server: pages that nobody looks at must not hold them.
  document.addEventListener("visibilitychange", () => {
    leave();
    if (!document.hidden) connect();
  });
  if (!document.hidden) connect();
}

// ---------- clocks of live calls ----------

const serverSkew = (now) => (now ? Date.now() - Number(now) : null);
let clockSkew = serverSkew(page.now) ?? 0;

function seconds(element, since) {
  const passed = Math.floor((Date.now() - clockSkew - Number(since)) / 1000);
  return Math.max(0, Math.min(passed, Number(element.dataset.most ?? Infinity)));
}

function tick() {
  for (const clock of document.querySelectorAll("[data-clock]")) {
    const passed = seconds(clock, clock.dataset.clock);
    clock.textContent = `${Math.floor(passed / 60)}:${String(passed % 60).padStart(2, "0")}`;
  }
  for (const cost of document.querySelectorAll("[data-cost]")) {
    const milliCents = Math.floor((seconds(cost, cost.dataset.cost) * Number(cost.dataset.rate)) / 60);
    const [cents, below] = [Math.floor(milliCents / 1000), milliCents % 1000];
    cost.firstChild.data = `$${Math.floor(cents / 100)}.${String(cents % 100).padStart(2, "0")}`;
    cost.lastElementChild.textContent = String(below).padStart(3, "0");
  }
}

// ---------- Add credits ----------

function showDialog(dialog) {
  for (const behind of document.querySelectorAll("body > [inert]")) behind.inert = false;
  const ownAddress = dialog.open; // closing it must leave this address
  dialog.removeAttribute("open");
  dialog.showModal();
  (dialog.querySelector("[aria-invalid]") ?? dialog.querySelector("input:checked"))?.focus();
  const leave = () => (ownAddress ? location.assign(dialog.querySelector("[data-close]").href) : dialog.remove());
  dialog.addEventListener("close", leave);
  dialog.querySelector("[data-close]").addEventListener("click", (event) => {
    event.preventDefault();
    dialog.close();
  });
  enhance(dialog);
}

let opening = false;

async function openDialog(link) {
  if (opening) return;
  opening = true;
  try {
    const answer = await fetch(link.href);
    const next = new DOMParser().parseFromString(await answer.text(), "text/html");
    const dialog = document.importNode(next.querySelector("dialog"), true);
    dialog.removeAttribute("open");
    document.body.append(dialog);
    showDialog(dialog);
  } catch {
    location.assign(link.href);
  } finally {
    opening = false;
  }
}

function typedAmount(input) {
  const outcome = input.form.querySelector(".outcome");
  const place = outcome.querySelector('[data-for="other"]');
  place.dataset.empty ??= place.innerHTML;
  const amount = Math.round(Number(input.value.replace(/^\$/, "")) * 100_000);
  if (!(amount >= 500_000 && amount <= 50_000_000)) {
    place.innerHTML = place.dataset.empty; // the server's own markup
    return;
  }
  const { available, hold, rate } = outcome.dataset;
  const after = Number(available) + amount;
  const room = Math.max(0, Math.floor(after / Number(hold)));
  const dollars = (Math.floor(after / 1000) / 100).toLocaleString("en-US", { style: "currency", currency: "USD" });
  const minutes = Math.floor(amount / Number(rate)).toLocaleString("en-US");
  const [term, figure, total] = ["dt", "dd", "strong"].map((name) => document.createElement(name));
  term.textContent = `After this top-up of ${minutes} min`;
  total.textContent = dollars.replace("-", "−");
  figure.append(total, room ? ` · room for ${room.toLocaleString("en-US")} ${room === 1 ? "call" : "calls"}` : " · calls stay paused");
  place.replaceChildren(term, figure);
}

// ---------- what elements ask for ----------

function enhance(root) {
  for (const button of root.querySelectorAll("[data-copy]")) button.hidden = !navigator.clipboard;
}

document.addEventListener("click", async (event) => {
  const link = event.target.closest("a[data-dialog]");
  if (link && !(event.ctrlKey || event.metaKey || event.shiftKey || event.button)) {
    event.preventDefault();
    return openDialog(link);
  }
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
  const word = button.querySelector("[aria-live]");
  word.textContent = "Copied";
  setTimeout(() => (word.textContent = "Copy"), 2000);
});

document.addEventListener("change", (event) => {
  if (event.target.name !== "theme") return;
  const secure = location.protocol === "https:" ? "; Secure" : "";
  document.cookie = `theme=${event.target.value}; Path=/; Max-Age=31536000; SameSite=Lax${secure}`;
  document.documentElement.dataset.theme = event.target.value;
});

document.addEventListener("input", (event) => {
  if (event.target.id === "custom") typedAmount(event.target);
});

document.addEventListener("keydown", (event) => {
  const asked = event.key === "Escape" && event.target.closest("details.confirm[open]");
  if (!asked) return;
  asked.open = false;
  asked.querySelector("summary").focus();
});

// A form posts once, however often its button is pressed while the answer is on its way.
const sent = new WeakSet();

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post" || event.defaultPrevented) return;
  if (sent.has(form)) return event.preventDefault();
  sent.add(form);
  const button = event.submitter ?? form.querySelector("[type=submit]");
  setTimeout(() => {
    button.disabled = true;
    if (form.dataset.busy) button.textContent = form.dataset.busy;
  });
});

// Coming back by the browser's history: buttons work again.
addEventListener("pageshow", (event) => event.persisted && location.reload());

enhance(document);
document.querySelector(".nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
if (page.events) listen();
if (document.querySelector("[data-clock], [data-cost]") || page.events) setInterval(tick, 1000);
const dialog = document.querySelector("dialog[open]");
if (dialog) showDialog(dialog);
