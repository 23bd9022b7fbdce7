// The page: a search box, hits with what matched, and a document whole. Documents are text, never markup.

const $ = (id) => document.getElementById(id);
const element = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children.filter((one) => one !== null && one !== undefined));
  return made;
};
const PAGE = 10;
let about = null; // what the index holds
let asked = 0; // the number of the newest question: answers to older ones are dropped

// ── The server ──────────────────────────────────────────────────────────────────────────────────────────────
let secret = sessionStorage.getItem("key") ?? "";

async function call(path, body, method = body === undefined ? "GET" : "POST") {
  const headers = secret ? { Authorization: `Bearer ${secret}` } : {};
  const form = body instanceof FormData;
  if (body !== undefined && !form) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: form || body === undefined ? body : JSON.stringify(body) });
  } catch {
    throw new Error("The server doesn't answer. Is it still running?");
  }
  const values = await answer.json().catch(() => ({}));
  if (answer.ok) return values;
  if (answer.status === 401) $("key").hidden = false;
  if (answer.status === 401 && (await askKey())) return call(path, body, method);
  throw new Error(values.detail ?? `The server answers ${answer.status}.`);
}

function askKey() {
  return new Promise((done) => {
    const dialog = $("ask-key");
    $("secret").value = "";
    dialog.returnValue = "";
    dialog.onclose = () => {
      const value = $("secret").value.trim();
      const use = dialog.returnValue === "use" && value !== "";
      if (use) sessionStorage.setItem("key", (secret = value));
      done(use);
    };
    if (!dialog.open) dialog.showModal();
  });
}

// ── The address ─────────────────────────────────────────────────────────────────────────────────────────────
function stateOf(address) {
  const query = new URLSearchParams(address.search);
  const filters = Object.create(null); // fields have any names
  for (const [name, value] of query) if (name.startsWith("f.")) filters[name.slice(2)] = value;
  const k = Number.parseInt(query.get("k") ?? "", 10);
  return {
    q: query.get("q") ?? "",
    mode: ["dense", "hybrid", "lexical"].includes(query.get("mode")) ? query.get("mode") : "dense",
    by: query.get("by") === "document" ? "document" : "passage",
    k: Number.isInteger(k) && k > 0 ? Math.min(k, 100) : PAGE,
    doc: query.get("doc"),
    filters,
  };
}

function addressOf(state) {
  const query = new URLSearchParams();
  if (state.q) query.set("q", state.q);
  if (state.mode !== "dense") query.set("mode", state.mode);
  if (state.by !== "passage") query.set("by", state.by);
  if (state.k !== PAGE) query.set("k", state.k);
  for (const [name, value] of Object.entries(state.filters)) query.set(`f.${name}`, value);
  if (state.doc) query.set("doc", state.doc);
  const text = query.toString();
  return text ? `?${text}` : location.pathname;
}

function go(changes) {
  const state = { ...stateOf(location), ...changes };
  const address = addressOf(state);
  if (address !== (location.search || location.pathname)) history.pushState(null, "", address);
  show();
}

// ── Words, and which answered which ─────────────────────────────────────────────────────────────────────────
const segmenter = globalThis.Intl?.Segmenter ? new Intl.Segmenter(undefined, { granularity: "word" }) : null;

// Words with their spans in UTF-16 units.
function wordsOf(text) {
  if (segmenter) {
    return [...segmenter.segment(text)]
      .filter((one) => one.isWordLike)
      .map((one) => ({ start: one.index, end: one.index + one.segment.length }));
  }
  return [...text.matchAll(/[\p{L}\p{N}\p{M}]+/gu)].map((one) => ({ start: one.index, end: one.index + one[0].length }));
}

// The server counts characters, JavaScript UTF-16 units: what turns the former into the latter.
function unitsOf(text) {
  if (!/[\ud800-\udbff]/.test(text)) return (at) => at;
  const places = [0];
  for (const character of text) places.push(places.at(-1) + character.length);
  return (at) => places[Math.min(at, places.length - 1)];
}

// The number of the word that a stretch begins in, or touches; -1: none.
function wordAt(words, start, end) {
  let low = 0, high = words.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (words[middle].end > start) high = middle;
    else low = middle + 1;
  }
  return low < words.length && words[low].start < end ? low : -1;
}

// What is marked in a text: spans with the numbers of the query's words, and how strongly they match.
function marksOf(text, matches, query) {
  const words = wordsOf(text), units = unitsOf(text), queryUnits = unitsOf(query.text);
  const found = new Map();
  for (const { query_span: asked, document_span: answer, similarity } of matches ?? []) {
    const from = wordAt(query.words, queryUnits(asked[0]), queryUnits(asked[1]));
    const to = wordAt(words, units(answer[0]), units(answer[1]));
    if (from < 0 || to < 0) continue;
    const mark = found.get(to) ?? { ...words[to], queries: new Set(), similarity: 0 };
    mark.queries.add(from);
    mark.similarity = Math.max(mark.similarity, similarity);
    found.set(to, mark);
  }
  return [...found.values()].sort((a, b) => a.start - b.start);
}

function marked(text, marks, start = 0, end = text.length, focusable = true) {
  const parts = [];
  let at = start;
  for (const mark of marks) {
    if (mark.start < at || mark.end > end) continue;
    parts.push(text.slice(at, mark.start));
    const made = element("mark", { textContent: text.slice(mark.start, mark.end) });
    if (focusable) made.tabIndex = 0;
    made.dataset.queries = [...mark.queries].join(" ");
    made.style.setProperty("--strength", (0.06 + 0.34 * Math.max(0, Math.min(1, (mark.similarity - 0.25) / 0.6))).toFixed(2));
    parts.push(made);
    at = mark.end;
  }
  parts.push(text.slice(at, end));
  return parts;
}

const LONG = 600;

// The stretch of a long text that holds most of what matched.
function stretch(text, marks, first) {
  if (text.length - first <= LONG * 1.25) return [first, text.length];
  let best = first, most = -1;
  for (const mark of marks) {
    const start = Math.max(first, mark.start - 80);
    let sum = 0;
    for (const one of marks) if (one.start >= start && one.end <= start + LONG) sum += one.similarity;
    if (sum > most) [best, most] = [start, sum];
  }
  const nearest = (at, step) => {
    for (let i = 0; i < 40 && at > 0 && at < text.length; i++, at += step) if (/\s/.test(text[at])) break;
    return Math.max(0, Math.min(at, text.length));
  };
  const start = best === first ? first : Math.max(first, nearest(best, -1));
  return [start, nearest(Math.min(text.length, start + LONG), 1)];
}

// Hovering, focusing or tapping a word shows what it matched, in either direction.
let kept = null;
function light(queries) {
  document.body.classList.toggle("asking", queries !== null);
  for (const word of document.querySelectorAll(".word")) {
    const on = queries !== null && queries.has(word.dataset.query);
    word.classList.toggle("on", on);
    word.setAttribute("aria-pressed", String(kept !== null && on));
  }
  for (const mark of document.querySelectorAll("mark")) {
    mark.classList.toggle("on", queries !== null && mark.dataset.queries.split(" ").some((one) => queries.has(one)));
  }
}
function queriesOf(target) {
  const word = target instanceof Element ? target.closest(".word, mark") : null;
  if (!word) return null;
  return new Set(word.dataset.query !== undefined ? [word.dataset.query] : word.dataset.queries.split(" "));
}
for (const [event, end] of [["mouseover", "mouseout"], ["focusin", "focusout"]]) {
  $("results").addEventListener(event, ({ target }) => {
    const queries = queriesOf(target);
    if (queries) light(queries);
  });
  $("results").addEventListener(end, () => light(kept));
}
$("results").addEventListener("click", ({ target }) => {
  const queries = queriesOf(target);
  if (!queries) return;
  const same = kept !== null && [...queries].join() === [...kept].join();
  light((kept = same ? null : queries));
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && kept !== null) light((kept = null));
  if (event.key === "Enter" && event.target instanceof Element && event.target.matches("mark")) event.target.click();
  if (event.key === "/" && !/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName ?? "")) {
    event.preventDefault();
    $("query").focus();
  }
});

// ── Views ───────────────────────────────────────────────────────────────────────────────────────────────────
const number = (value) => value.toLocaleString(undefined, { maximumFractionDigits: 3 });

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

function ribbonOf(query) {
  const parts = [];
  query.words.forEach((word, i) => {
    const made = element("button", { type: "button", className: "word", textContent: query.text.slice(word.start, word.end) });
    made.dataset.query = i;
    made.setAttribute("aria-pressed", "false");
    parts.push(made);
  });
  return parts;
}

function titleOf(hit) {
  const title = hit.metadata?.title;
  if (typeof title === "string" && title.trim()) return title;
  const heading = /^#{1,6} +(.+)$/m.exec((hit.text ?? "").slice(0, 300))?.[1];
  return hit.headings?.at(-1) ?? heading ?? hit.document_id ?? hit.id;
}

// The line, page, rows or cell that it begins at.
function shortPlace({ place }) {
  if (!place) return "";
  if (place.pages) return `p. ${place.pages[0]}`;
  if (place.sheet) return `${place.sheet}!${place.range ?? ""}`;
  if (place.cells) return `cell ${place.cells[0]}`;
  return place.lines ? `line ${place.lines[0]}` : "";
}

// Where it stands: the file, as its folder names it, with its page or line, and the headings above.
function placeOf(hit) {
  const place = [], short = shortPlace(hit);
  const where = short && `, ${short}`;
  const id = hit.document_id ?? hit.id, path = hit.metadata?.path || hit.source || id;
  place.push(`${String(path).endsWith(`/${id}`) ? id : path}${where}`);
  for (const heading of hit.headings ?? []) if (heading !== titleOf(hit)) place.push(heading);
  return element("p", { className: "place", title: path }, ...place.map((one) => element("bdi", { textContent: one })));
}

// The title at the beginning of a text, also as a heading of Markdown: where it begins and ends there.
function titleIn(text, title) {
  const start = /^#{1,6} +/.exec(text)?.[0].length ?? 0;
  const end = start + title.length;
  return text.startsWith(title, start) && (!start || end === text.length || text[end] === "\n") ? [start, end] : [0, 0];
}

const SHOWN = ["title", "path"]; // elsewhere, and of each document another

function metadataOf(metadata) {
  const shown = Object.entries(metadata ?? {}).filter(([name, value]) => !SHOWN.includes(name) && value !== null && typeof value !== "object");
  if (!shown.length) return null;
  return element("ul", { className: "meta" },
    ...shown.slice(0, 8).map(([name, value]) => element("li", {}, element("bdi", { textContent: `${name}: ${String(value).slice(0, 80)}` }))));
}

// The title and the passage, with their marks; a title that the text begins with isn't shown twice.
function textOf(hit, query, whole) {
  const text = hit.text ?? "", title = titleOf(hit);
  const marks = marksOf(text, hit.matches, query);
  const [begin, first] = titleIn(text, title);
  const body = marks.filter((mark) => mark.start >= first);
  const [start, end] = whole ? [first, text.length] : stretch(text, body, first);
  const passage = element("p", { className: "passage", dir: "auto" });
  const show = (from, to) => passage.replaceChildren(
    from > first ? "… " : "", ...marked(text.slice(0, to).trimEnd(), body, from + text.slice(from, to).search(/\S|$/)), to < text.length ? " …" : "");
  show(start, end);
  const more = start > first || end < text.length
    ? element("button", { type: "button", className: "quiet", textContent: "Show all of it" })
    : null;
  more?.addEventListener("click", () => {
    show(first, text.length);
    more.remove();
  });
  return [first ? marked(text, marks, begin, first, false) : [title], passage, more];
}

// What each word of the query adds to the score.
function partsOf(hit, query) {
  const units = unitsOf(query.text);
  const sums = query.words.map(() => 0);
  let rest = 0;
  for (const { query_span: span, similarity } of hit.matches ?? []) {
    const word = wordAt(query.words, units(span[0]), units(span[1]));
    if (word < 0) rest += similarity;
    else sums[word] += similarity;
  }
  const rows = query.words.map((word, i) => [query.text.slice(word.start, word.end), sums[i]]);
  if (rest) rows.push(["whole question", rest]);
  const most = Math.max(1, ...rows.map(([, sum]) => sum));
  const list = element("dl", { className: "parts" });
  for (const [name, sum] of rows) {
    const meter = element("meter", { min: 0, max: most, value: Math.max(0, sum) });
    meter.setAttribute("aria-label", name);
    list.append(element("dt", {}, element("bdi", { textContent: name })), element("dd", {}, meter),
      element("dd", { className: "number", textContent: number(sum) }));
  }
  return list;
}

const KINDS = { maxsim: "similarity", estimate: "estimated similarity", bm25: "words (BM25)", rrf: "ranks of both", weighted: "both, weighted" };

function factsOf(hit, query, more) {
  const facts = element("div", { className: "facts" });
  const mean = hit.normalized_score === null ? "" : `, ${number(hit.normalized_score)} a token`;
  facts.append(element("span", { textContent: `${number(hit.score)} ${KINDS[hit.score_kind] ?? hit.score_kind}${mean}` }));
  if (hit.n_matching) facts.append(element("span", { textContent: `${hit.n_matching} more in this document` }));
  if (more) facts.append(more);
  if (hit.matches?.length) {
    const why = element("button", { type: "button", className: "quiet", textContent: "Why" });
    why.setAttribute("aria-expanded", "false");
    why.addEventListener("click", () => {
      const open = facts.nextElementSibling?.matches(".parts");
      if (open) facts.nextElementSibling.remove();
      else facts.after(partsOf(hit, query));
      why.setAttribute("aria-expanded", String(!open));
    });
    facts.append(why);
  }
  return facts;
}

function hitOf(hit, query, state) {
  const [title, passage, more] = textOf(hit, query, false);
  const link = element("a", { href: addressOf({ ...state, doc: hit.document_id ?? hit.id }) }, ...title);
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    go({ doc: hit.document_id ?? hit.id });
  });
  return element("li", {}, element("article", { className: "hit" },
    element("h2", { dir: "auto" }, link), placeOf(hit), passage, metadataOf(hit.metadata), factsOf(hit, query, more)));
}

function whereOf(filters) {
  const where = Object.create(null);
  for (const [name, value] of Object.entries(filters)) {
    try { where[name] = JSON.parse(value); } catch { where[name] = value; }
  }
  return Object.keys(where).length ? where : null;
}

async function showHits(state, mine) {
  const query = { text: state.q, words: wordsOf(state.q) };
  const wanted = Math.min(state.k, 100);
  const found = await call("v1/search", { query: state.q, k: wanted, mode: state.mode, by: state.by, where: whereOf(state.filters), explain: true });
  if (mine !== asked) return;
  const hits = found.hits.map((hit) => hitOf(hit, query, state));
  const list = element("ol", { className: "hits" }, ...hits);
  $("ribbon").replaceChildren(...ribbonOf(query));
  $("ribbon").hidden = !hits.length;
  if (!hits.length) {
    $("view").replaceChildren(element("div", { className: "empty" },
      element("p", { textContent: "Nothing was found. Fewer filters, or a search by meaning, may find more." })));
  } else if (hits.length === wanted && wanted < 100) {
    const more = element("button", { type: "button", className: "quiet", textContent: "Show more" });
    more.addEventListener("click", () => go({ k: wanted + PAGE }));
    $("view").replaceChildren(list, element("p", {}, more));
  } else {
    $("view").replaceChildren(list);
  }
  say(`${counted(hits.length, state.by)} in ${number(Math.max(1, Math.round(found.took_ms)))} ms`);
}

// One hit, 10 hits; of an index of passages: 10 passages, or documents.
function counted(count, by) {
  const name = about && isSplit() ? by : "hit";
  return count === 1 ? `One ${name}` : `${count} ${name}s`;
}

const GOOD = 0.8; // of the best passage's score: what is shown as matching, too

async function showDocument(state, mine) {
  // By its id as a value: in an address, browsers take ".." for a folder above, and get another document.
  const [whole] = (await call("v1/get", { ids: [state.doc] })).documents;
  if (!whole) throw new Error("There is no document of this id. It may have been deleted.");
  const query = { text: state.q, words: wordsOf(state.q) };
  const found = state.q.trim() ? (await call("v1/passages", { id: state.doc, query: state.q })).hits : [];
  if (mine !== asked) return;
  const hits = found.filter((hit) => hit.score >= GOOD * found[0].score);
  const text = whole.text, units = unitsOf(text), title = titleOf(whole);
  const [begin, first] = titleIn(text, title);
  const passages = hits.map((hit) => {
    const start = units(hit.span?.[0] ?? 0), own = hit.text ?? "";
    const marks = marksOf(own, hit.matches, query).map((mark) => ({ ...mark, start: mark.start + start, end: mark.end + start }));
    return { hit, start, end: start + own.length, marks };
  }).filter(({ hit, start, end }) => text.slice(start, end) === hit.text).sort((a, b) => a.start - b.start);
  const marks = passages.flatMap((one) => one.marks);
  const body = element("div", { className: "passage long", dir: "auto" });
  let at = first + text.slice(first).search(/\S|$/);
  for (const [i, { start, end, marks: own }] of passages.entries()) {
    const from = Math.max(at, start);
    if (from >= end) continue;
    body.append(text.slice(at, from), element("span", { className: passages.length > 1 ? "found" : "", id: `passage-${i}`, tabIndex: -1 }, ...marked(text, own, from, end)));
    at = end;
  }
  body.append(text.slice(at));
  const back = element("a", { textContent: state.q ? "Back to the hits" : "New search", href: addressOf({ ...state, doc: null }) });
  back.addEventListener("click", (event) => {
    event.preventDefault();
    go({ doc: null });
  });
  const best = hits[0];
  const jump = passages.length < 2 ? null : element("nav", { className: "facts" }, element("span", { textContent: `${passages.length} passages match:` }),
    ...passages.map(({ hit }, i) => {
      const button = element("button", { type: "button", className: "quiet", textContent: shortPlace(hit) || `passage ${hit.number}` });
      button.addEventListener("click", () => {
        const target = $(`passage-${i}`);
        target.scrollIntoView({ block: "center" });
        target.focus({ preventScroll: true });
      });
      return button;
    }));
  jump?.setAttribute("aria-label", "Matching passages");
  $("ribbon").replaceChildren(...ribbonOf(query));
  $("ribbon").hidden = !marks.length;
  $("view").replaceChildren(element("article", { className: "whole" }, back,
    element("h1", { dir: "auto" }, ...(first ? marked(text, marks, begin, first, false) : [title])), placeOf(whole), metadataOf(whole.metadata),
    jump, best ? factsOf({ ...best, matches: passages.length === 1 ? best.matches : [] }, query, null) : null, body));
  say("");
  if (best && passages.length && units(best.span?.[0] ?? 0) > LONG) {
    $(`passage-${passages.findIndex((one) => one.hit === best)}`)?.scrollIntoView({ block: "center" });
  }
}

function showEmpty() {
  $("ribbon").hidden = true;
  $("view").replaceChildren(element("div", { className: "empty" },
    element("h1", { textContent: about ? `Search in ${number(about.documents)} documents` : "Search" }),
    element("p", { textContent: "Ask in your own words. Each hit shows which of its words answered which of yours, also across languages." })));
  say("");
}

async function show() {
  const state = stateOf(location), mine = ++asked;
  kept = null;
  light(null);
  $("query").value = state.q;
  for (const name of ["mode", "by"]) {
    for (const radio of document.querySelectorAll(`[name=${name}]`)) radio.checked = radio.value === state[name];
  }
  for (const select of document.querySelectorAll("#filters select")) select.value = state.filters[select.name] ?? "";
  document.title = state.q ? `${state.q} – Search` : "Search";
  try {
    if (state.doc) await showDocument(state, mine);
    else if (state.q.trim()) await showHits(state, mine);
    else showEmpty();
  } catch (error) {
    if (mine !== asked) return;
    $("ribbon").hidden = true;
    $("view").replaceChildren();
    say(error.message, true);
  }
}

// ── What the index holds ────────────────────────────────────────────────────────────────────────────────────
function filterOf({ name, values }) {
  const select = element("select", { name });
  select.append(element("option", { value: "", textContent: "any" }));
  for (const { value, count } of values) {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    select.append(element("option", { value: JSON.stringify(value), textContent: `${text} (${number(count)})` }));
  }
  select.addEventListener("change", () => {
    const { filters } = stateOf(location);
    if (select.value) filters[name] = select.value;
    else delete filters[name];
    go({ filters, doc: null, k: PAGE });
  });
  return element("label", {}, element("bdi", { textContent: name }), select);
}

// Whether documents are found by their passages, so that there is something to choose.
const isSplit = () => about.passages > about.documents;

async function learn() {
  about = await call("v1/index");
  const choices = (about.values ?? []).filter(({ name, values }) => values.length > 1 && !SHOWN.includes(name)).slice(0, 4);
  $("filters").replaceChildren(...choices.map(filterOf));
  for (const radio of document.querySelectorAll("[name=mode]")) radio.disabled = !about.lexical && radio.value !== "dense";
  $("by").hidden = !isSplit();
  $("add").hidden = !about.can_write;
  const passages = isSplit() ? `, ${number(about.passages)} passages` : "";
  $("about").textContent = `${number(about.documents)} documents${passages} · ${about.model ?? ""} · ${about.tier}`;
}

// ── Adding files ────────────────────────────────────────────────────────────────────────────────────────────
$("add").addEventListener("click", async () => {
  if (!about.writable && !(await askKey())) return;
  $("upload-status").textContent = "";
  $("upload").showModal();
});
$("key").addEventListener("click", async () => {
  if (await askKey()) start();
});
$("send").addEventListener("click", async (event) => {
  event.preventDefault();
  const files = $("files").files;
  if (!files.length) return void ($("upload-status").textContent = "Choose some files first.");
  const form = new FormData();
  for (const file of files) form.append("files", file);
  $("send").disabled = true;
  $("upload-status").textContent = "Reading and encoding …";
  try {
    const done = await call("v1/files", form);
    const left = done.report?.left_out?.count ?? 0;
    $("upload-status").textContent = `Added ${done.added}, changed ${done.changed}, unchanged ${done.unchanged}${left ? `; ${left} could not be read` : ""}.`;
    $("files").value = "";
    await learn();
  } catch (error) {
    $("upload-status").textContent = error.message;
  } finally {
    $("send").disabled = false;
  }
});

$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  go({ q: $("query").value, doc: null, k: PAGE });
});
for (const radio of document.querySelectorAll("[name=mode], [name=by]")) {
  radio.addEventListener("change", () => go({ [radio.name]: radio.value, doc: null, k: PAGE }));
}
addEventListener("popstate", show);
// The words of the question stay in sight right below the header, however many rows it has.
new ResizeObserver(([{ target }]) => {
  document.documentElement.style.setProperty("--header", `${target.offsetHeight}px`);
}).observe(document.querySelector(".top"));

async function start() {
  try {
    await learn();
  } catch (error) {
    return say(error.message, true);
  }
  await show();
}
start();
