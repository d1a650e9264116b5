// User interface at /: sends texts to v1/classify and shows the predictions, as text and never as markup.

const EXAMPLES = [
  "I love this cream",
  "It ruined my skin",
  "Not bad, I would buy it again",
  "Lovely smell, but it broke",
  "Nobody answers my mails",
];
const BARS_SHOWN = 5; // further labels are collapsed
const ARGUMENT_MAX_BYTES = 100_000; // of 128 KiB; for larger bodies curl reads standard input
const WHEN = { dateStyle: "medium", timeStyle: "short" };
const NOT_UNDERSTOOD = "The answer was not understood";
const FALLBACK_LIMITS = { max_texts_per_request: 64, max_body_bytes: Infinity, max_chars_per_text: Infinity };

const $ = (id) => document.getElementById(id);
const count = new Intl.NumberFormat("en");
const bytesOf = (text) => new TextEncoder().encode(text).length;
const page = { model: null, limits: FALLBACK_LIMITS, run: null, abort: null };

/** Failed request: an RFC 9457 problem, and the time until a retry. */
class Problem extends Error {
  constructor(title, { detail, status, errors, retryAfter, requestId } = {}) {
    super(title);
    Object.assign(this, { detail, status, errors, retryAfter, requestId });
  }
}

// ---- pure: requests ----

function textsOf(value, mode) {
  if (mode === "whole") return value.trim() ? [value] : [];
  return value.split("\n").filter((line) => line.trim());
}

/** Divide the texts, in order, into as few requests as the service's limits allow. */
function requestsOf(texts, limits) {
  const requests = [];
  let bytes = Infinity;
  for (const text of texts) {
    const more = bytesOf(JSON.stringify(text)) + 1;
    const last = requests.at(-1);
    if (last && last.length < limits.max_texts_per_request && bytes + more <= limits.max_body_bytes) {
      last.push(text);
      bytes += more;
    } else {
      requests.push([text]);
      bytes = bodyOf([]).length + more;
    }
  }
  return requests;
}

/** JSON on one line, with invisible characters and direction marks escaped. */
function bodyOf(texts) {
  return JSON.stringify({ inputs: texts }).replace(
    /[\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function curlOf(texts, withKey) {
  const url = addressOf("v1/classify");
  const target = /^[\w:/.@%~-]+$/.test(url) ? url : quoted(url);
  const key = withKey ? ' -H "authorization: Bearer $API_KEY"' : "";
  const head = `curl -sS ${target} -H 'content-type: application/json'${key}`;
  const body = bodyOf(texts);
  if (bytesOf(body) <= ARGUMENT_MAX_BYTES) return `${head} -d ${quoted(body)}`;
  return `${head} --data-binary @- <<'END'\n${body}\nEND`;
}

// ---- pure: formatting ----

const plural = (n, noun) => `${count.format(n)} ${noun}${n === 1 ? "" : "s"}`;
const ms = (value) => `${value < 10 ? value.toFixed(1) : count.format(Math.round(value))} ms`;

function percent(score) {
  if (score > 0.999 && score < 1) return "> 99.9 %";
  if (score > 0 && score < 0.001) return "< 0.1 %";
  return `${(score * 100).toFixed(1)} %`;
}

function toneOf(label) {
  if (/^(very[ _-]?)?pos/i.test(label)) return "good";
  return /^(very[ _-]?)?neg/i.test(label) ? "bad" : "plain";
}

// ---- the service ----

const addressOf = (path) => new URL(path, document.baseURI).href;

async function ask(path, options = {}) {
  const headers = { accept: "application/json", ...options.headers };
  if ($("key").value) headers.authorization = `Bearer ${$("key").value}`;
  let response;
  let body;
  try {
    response = await fetch(addressOf(path), { ...options, headers, cache: "no-store" });
    body = await response.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The service cannot be reached", {
      detail: `Nothing answered at ${location.host}. Is it running, and is the network up?`,
    });
  }
  const requestId = response.headers.get("x-request-id");
  let answer = null;
  try {
    answer = JSON.parse(body);
  } catch {
    // for example the page of a gateway: reported below by its status
  }
  if (response.ok) {
    if (answer) return answer;
    throw new Problem(NOT_UNDERSTOOD, { detail: `${path} did not answer in JSON.`, requestId });
  }
  const { title, detail, errors } = answer ?? {};
  throw new Problem(title || response.statusText || "The request failed", {
    detail: typeof detail === "string" ? detail : "",
    status: response.status,
    errors: Array.isArray(errors) ? errors : [],
    retryAfter: response.headers.get("retry-after"),
    requestId,
  });
}

async function classify(texts, signal) {
  const started = performance.now();
  const headers = { "content-type": "application/json" };
  const answer = await ask("v1/classify", { method: "POST", headers, body: bodyOf(texts), signal });
  const latency = performance.now() - started;
  if (!Array.isArray(answer.results) || answer.results.length !== texts.length) {
    throw new Problem(NOT_UNDERSTOOD, {
      detail: `${plural(texts.length, "text")} asked, ${answer.results?.length ?? "no"} answered.`,
      requestId: answer.request_id,
    });
  }
  return { ...answer, latency };
}

async function askModel() {
  try {
    page.model = await ask("v1/model");
    page.limits = { ...FALLBACK_LIMITS, ...page.model.limits };
    showModel(page.model);
  } catch (problem) {
    if (problem.status === 401) askKey();
    $("live").dataset.state = "down";
    $("live-text").textContent = problem.message;
    if (!page.model) $("model").replaceChildren(make("dd", "note", problem.detail || problem.message));
  }
  showInput();
}

// ---- run: all texts of one click on the button ----

function start() {
  if (page.abort) return;
  const texts = typed();
  if (!texts.length) {
    $("status").textContent = $("count").textContent = "Nothing to classify yet: type or paste a text.";
    $("text").focus();
    return;
  }
  page.run = { texts, waiting: requestsOf(texts, page.limits), answers: [], done: 0 };
  page.run.requests = page.run.waiting.length;
  $("results").replaceChildren();
  $("summary").hidden = true;
  resume();
}

/** Send the remaining requests one after the other; results from before a failure stay. */
async function resume() {
  const run = page.run;
  if (page.abort) return;
  page.abort = new AbortController();
  $("alert").replaceChildren();
  $("empty").hidden = true;
  showProgress();
  try {
    while (run.waiting.length) {
      const texts = run.waiting[0];
      const answer = await classify(texts, page.abort.signal);
      run.waiting.shift();
      run.answers.push(answer);
      $("results").append(...texts.map((text, i) => resultOf(run, answer, i, text)));
      run.done += texts.length;
      showSummary(run);
      showProgress();
    }
    $("status").textContent = `${plural(run.done, "text")} classified: ${tally(run).join(", ")}.`;
  } catch (error) {
    showProblem(error, run);
  } finally {
    page.abort = null;
    showProgress();
  }
  const version = run.answers.at(-1)?.model?.version;
  if (version && (version !== page.model?.version || $("live").dataset.state !== "up")) askModel();
}

// ---- rendering ----

/** An element with a class and children; a string becomes a text node. */
function make(tag, className = "", ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

const typed = () => textsOf($("text").value, $("form").elements.mode.value);

function showInput() {
  const texts = typed();
  const requests = requestsOf(texts, page.limits);
  const most = page.limits.max_chars_per_text;
  // the service counts code points, of which there are at most as many as UTF-16 units
  const long = texts.findIndex((text) => text.length > most && [...text].length > most);
  const words = [plural(texts.length, "text")];
  if (requests.length > 1) words.push(`sent as ${requests.length} requests`);
  if (long >= 0) words.push(`text ${long + 1} has more than ${plural(most, "character")}, the limit`);
  $("count").textContent = words.join(" · ");
  $("count").classList.toggle("warn", long >= 0);
  $("clear").disabled = !$("text").value;

  const withKey = Boolean($("key").value);
  $("curl").textContent = requests.map((request) => curlOf(request, withKey)).join("\n");
  $("curl-box").hidden = $("copy").disabled = !texts.length;
  $("curl-note").hidden = texts.length > 0;
}

const progressOf = (run) => `${count.format(run.done)} of ${plural(run.texts.length, "text")}`;

function showProgress() {
  const { run, abort } = page;
  const many = abort && run.requests > 1;
  $("form").setAttribute("aria-busy", String(Boolean(abort)));
  $("classify").setAttribute("aria-disabled", String(Boolean(abort)));
  if (!abort && document.activeElement === $("stop")) $("classify").focus();
  $("stop").hidden = !abort;
  $("clear").hidden = Boolean(abort);
  $("progress").hidden = !many;
  if (!many) return;
  $("bar").max = run.texts.length;
  $("bar").value = run.done;
  $("progress-text").textContent = progressOf(run);
}

function showModel(model) {
  $("live").dataset.state = "up";
  $("live-text").textContent = `${model.name} ${model.version} is live`;
  const limits = model.limits ?? {};
  const loaded = new Date(model.loaded_at);
  const request = [
    limits.max_texts_per_request && plural(limits.max_texts_per_request, "text"),
    limits.max_body_bytes && `${count.format(limits.max_body_bytes / 1024)} KiB`,
    limits.max_chars_per_text && `${plural(limits.max_chars_per_text, "character")} a text`,
  ];
  const facts = {
    Model: `${model.name} ${model.version}`,
    Labels: (model.answer_labels ?? model.labels ?? []).join(", "),
    Languages: (model.languages ?? []).join(", "),
    Terms: model.license,
    Device: [model.device, model.dtype].filter(Boolean).join(" · "),
    "Reads up to": model.max_length && plural(model.max_length, "token"),
    "Loaded at": Number.isNaN(+loaded) ? "" : loaded.toLocaleString("en-GB", WHEN),
    From: model.uri,
    "A request": request.filter(Boolean).join(" · "),
  };
  const rows = Object.entries(facts).filter(([, value]) => value);
  $("model").replaceChildren(...rows.flatMap(([name, value]) => [make("dt", "", name), make("dd", "", value)]));
}

/** Return the card of `answer.results[i]`; `run.done` texts are already shown. */
function resultOf(run, answer, i, text) {
  const result = answer.results[i];
  const scores = Object.entries(result.scores ?? { [result.label]: result.score }).sort((a, b) => b[1] - a[1]);
  const bars = scores.map(([label, score]) => {
    const fill = make("span", "fill");
    fill.style.width = `${score * 100}%`;
    const row = make("li", "", make("span", "name", label), make("span", "track", fill));
    row.append(make("span", "value", percent(score)));
    row.dataset.tone = label === result.label ? toneOf(label) : "other"; // none for NEUTRAL
    return row;
  });
  const words = make("p", "text", text);
  words.dir = "auto";
  if (text.length > 400) words.tabIndex = 0; // scrollable elements must be reachable by keyboard
  const label = make("strong", "label", result.label);
  label.dataset.tone = toneOf(result.label);
  const facts = make("p", "facts", make("span", "", `Text ${count.format(run.done + i + 1)}`));
  facts.append(make("span", "", plural(result.tokens, "token")));
  if (result.truncated) facts.append(make("span", "mark", "truncated: the end was not read"));
  if (modelOf(answer) !== modelOf(run.answers[0])) facts.append(make("span", "", modelOf(answer)));
  const item = make("li", "card result", make("div", "row", words, label));
  item.append(make("ul", "bars", ...bars.slice(0, BARS_SHOWN)));
  if (bars.length > BARS_SHOWN) {
    const title = make("summary", "", plural(bars.length - BARS_SHOWN, "more label"));
    item.append(make("details", "", title, make("ul", "bars", ...bars.slice(BARS_SHOWN))));
  }
  item.append(facts);
  return item;
}

const modelOf = (answer) => `${answer.model?.name ?? "model"} ${answer.model?.version ?? "?"}`;

function tally(run) {
  const seen = new Map();
  for (const { label } of run.answers.flatMap((answer) => answer.results)) seen.set(label, (seen.get(label) ?? 0) + 1);
  return [...seen].sort((a, b) => b[1] - a[1]).map(([label, n]) => `${count.format(n)} ${label}`);
}

/** Times of a run by phase, in milliseconds; without the service's times, only the browser's. */
function timingOf(answers) {
  const sum = (pick) => answers.reduce((total, answer) => total + (pick(answer) ?? 0), 0);
  const latency = sum((answer) => answer.latency);
  if (!answers.every((answer) => answer.timing)) return { latency, parts: [] };
  const server = sum((answer) => answer.timing.total_ms);
  const known = ["tokenize", "queue", "forward"].map((name) => [name, sum((answer) => answer.timing[`${name}_ms`])]);
  const rest = known.reduce((left, [, value]) => left - value, latency);
  return { latency, server, parts: [...known, ["the rest", Math.max(rest, 0)]] };
}

function showSummary(run) {
  const { latency, server, parts } = timingOf(run.answers);
  const share = server === undefined ? "" : `, ${ms(server)} in the service`;
  const total = make("strong", "", `${plural(run.done, "text")} in ${ms(latency)}`);
  const pieces = [make("p", "headline", total, make("span", "note", `measured in the browser${share}`))];
  if (run.done > 1) pieces.push(make("p", "", tally(run).join(" · ")));
  if (parts.length) {
    const strip = make("div", "strip");
    const legend = make("ul", "legend");
    legend.setAttribute("aria-label", "Where the time went");
    for (const [name, value] of parts) {
      const slice = make("span");
      slice.style.flexGrow = value;
      slice.dataset.part = name;
      strip.append(slice);
      const row = make("li", "", `${name} `, make("b", "", ms(value)));
      row.dataset.part = name;
      legend.append(row);
    }
    pieces.push(strip, legend);
  }
  const rows = run.answers.map((answer) => {
    const row = make("li", "", make("span", "", "Answered by ", make("b", "", modelOf(answer))));
    row.append(make("span", "", "request ", make("code", "", answer.request_id ?? "without id")));
    const part = `${plural(answer.results.length, "text")} in ${ms(answer.latency)}`;
    if (run.requests > 1) row.append(make("span", "", part));
    return row;
  });
  const requests = make("ul", "requests", ...rows);
  requests.setAttribute("aria-label", "Requests");
  if (rows.length > 3) requests.tabIndex = 0; // scrollable, as long texts
  pieces.push(requests);
  $("summary").replaceChildren(...pieces);
  $("summary").hidden = false;
}

function showProblem(error, run) {
  const stopped = error.name === "AbortError";
  const problem = stopped ? new Problem("Stopped") : error;
  const box = make("div", `card problem${stopped ? " calm" : ""}`);
  const title = make("p", "title", problem.message);
  if (problem.status) title.append(make("span", "mark", `HTTP ${problem.status}`));
  box.append(title);
  if (problem.detail) box.append(make("p", "", problem.detail));
  if (problem.errors?.length) {
    box.append(make("ul", "errors", ...problem.errors.map(({ field, message }) => {
      const text = run.waiting[0]?.[Number(/^inputs\D*(\d+)/.exec(field)?.[1])];
      const row = make("li", "", make("code", "", field), ` ${message}`);
      if (text) row.append(make("q", "", text.length > 60 ? `${text.slice(0, 60)}…` : text));
      return row;
    })));
  }
  if (problem.retryAfter) {
    const wait = /^\d+$/.test(problem.retryAfter) ? plural(Number(problem.retryAfter), "second") : problem.retryAfter;
    box.append(make("p", "", `The service asks to wait: ${wait}.`));
  }
  if (run.done) box.append(make("p", "note", `${progressOf(run)} answered, shown below.`));
  if (problem.requestId) box.append(make("p", "note", "Request ", make("code", "", problem.requestId)));
  const again = make("button", "plain", run.done ? "Continue with the rest" : "Try again");
  again.addEventListener("click", () => {
    $("classify").focus(); // this button is removed next
    resume();
  });
  if (problem.status !== 422 && problem.status !== 413) box.append(again); // the same text would fail the same way
  $("alert").replaceChildren(box);
  if (problem.status === 401) askKey();
  if (!problem.status && !stopped) askModel();
}

function askKey() {
  $("key-row").hidden = false;
  $("key").focus();
}

// ---- copying ----

async function copy() {
  let copied = true;
  try {
    await navigator.clipboard.writeText($("curl").textContent);
  } catch {
    copied = copyByHand(); // without https, other machines have no clipboard interface
  }
  $("copy").textContent = copied ? "Copied" : "Not copied";
  $("status").textContent = copied ? "Curl line copied." : "The browser did not allow copying: the line is selected.";
}

function copyByHand() {
  getSelection().selectAllChildren($("curl"));
  return document.execCommand("copy");
}

// ---- wiring ----

function inputChanged() {
  $("copy").textContent = "Copy";
  showInput();
}

function addLine(line) {
  const before = $("text").value;
  $("text").value = before && !before.endsWith("\n") ? `${before}\n${line}` : before + line;
  inputChanged();
}

$("examples").append(...EXAMPLES.map((example) => {
  const chip = make("button", "chip", example);
  chip.type = "button";
  chip.addEventListener("click", () => addLine(example));
  return chip;
}));
$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  start();
});
$("form").addEventListener("input", inputChanged);
$("form").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  start();
});
$("stop").addEventListener("click", () => {
  page.abort?.abort();
  $("text").focus();
});
$("clear").addEventListener("click", () => {
  $("text").value = "";
  inputChanged();
  $("text").focus();
});
$("copy").addEventListener("click", copy);
if (/Mac|iPhone|iPad/.test(navigator.userAgent)) $("classify").querySelector("kbd").textContent = "⌘ ↵";

showInput();
askModel();
