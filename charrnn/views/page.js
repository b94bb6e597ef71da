// The page of a run. It computes the network itself, by the equations of charrnn/layers/DERIVATION.md, whose tags
// stand beside them here too, and draws what that shows.
//
//   H  hidden size     V  size of the vocabulary     L  layers     G  gates of the cell
//
// Weights are stored (inputs, outputs) in one flat array each, as in Python: W_aa (H, G·H) has W_aa[i, j] at
// i·G·H + j. They and the activations are float32, sums are taken in double precision.

(() => {
"use strict";

const DATA = JSON.parse(document.getElementById("data").textContent);
const BACK = 400; // the most steps that a loss is sent back
const DECADES = 4; // of the reach that are shaded
const KEPT = 2000; // letters of the written text that stay
const SWITCHES = ["quotes", "brackets", "depth", "comments", "strings"]; // features that are seen to go on and off

// -- the network ------------------------------------------------------------------------------------

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

/** The float32 numbers of an array as the page holds it. */
function unpack({ shape, type, data, steps }) {
  const bytes = bytesOf(data);
  if (type === "float32") return new Float32Array(bytes.buffer);
  if (type === "float16") return Float32Array.from(new Uint16Array(bytes.buffer), fromHalf);
  const step = new Float32Array(bytesOf(steps).buffer); // of each row
  return Float32Array.from(new Int8Array(bytes.buffer), (x, i) => x * step[Math.floor(i / shape[1])]);
}

/** The number that the 16 bits of a float16 stand for. */
function fromHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
}

/** out += x W, for x (m), W (m, n) and out (n). */
function addProduct(out, x, W) {
  const n = out.length;
  for (let i = 0, at = 0; i < x.length; i++, at += n) {
    const xi = x[i];
    for (let j = 0; j < n; j++) out[j] += xi * W[at + j];
  }
  return out;
}

/** out += d Wᵀ, for d (n), W (m, n) and out (m). */
function addBack(out, d, W) {
  const n = d.length;
  for (let i = 0, at = 0; i < out.length; i++, at += n) {
    let sum = 0;
    for (let j = 0; j < n; j++) sum += d[j] * W[at + j];
    out[i] += sum;
  }
  return out;
}

const sigmoid = (z) => 1 / (1 + Math.exp(-z));

// A cell has ``step``: from xW = x⟨t⟩ W_ax + b_a and the state before, what it computes at t, all that
// ``back`` needs; and ``back``: from the whole da⟨t⟩ (and dc⟨t⟩), dz⟨t⟩ = ∂L/∂(xW) and what goes to t−1.
const CELLS = {
  rnn: {
    step(xW, before, w, H) {
      const z = addProduct(Float64Array.from(xW), before.a, w.W_aa); // (F1)
      return { a: Float32Array.from(z, Math.tanh) }; // (F2)
    },
    back(da, _, m, before, w, H) {
      const dz = new Float64Array(H);
      for (let i = 0; i < H; i++) dz[i] = da[i] * (1 - m.a[i] ** 2); // (B4)
      return { dz, da: addBack(new Float64Array(H), dz, w.W_aa) }; // the second term of (B3), and (B9)
    },
  },
  gru: {
    step(xW, before, w, H) { // xW is z⟨t⟩ (GF1)
      const q = new Float64Array(3 * H);
      q.set(w.b_n, 2 * H);
      addProduct(q, before.a, w.W_aa); // (GF2)
      const [a, r, u, n, q_n] = Array.from({ length: 5 }, () => new Float32Array(H));
      for (let i = 0; i < H; i++) {
        r[i] = sigmoid(xW[i] + q[i]); // (GF3)
        u[i] = sigmoid(xW[H + i] + q[H + i]); // (GF3)
        q_n[i] = q[2 * H + i];
        n[i] = Math.tanh(xW[2 * H + i] + r[i] * q_n[i]); // (GF4)
        a[i] = (1 - u[i]) * n[i] + u[i] * before.a[i]; // (GF5)
      }
      return { a, r, u, n, q_n };
    },
    back(da, _, { r, u, n, q_n }, before, w, H) {
      const dz = new Float64Array(3 * H), dq = new Float64Array(3 * H), past = new Float64Array(H);
      for (let i = 0; i < H; i++) {
        const dz_n = da[i] * (1 - u[i]) * (1 - n[i] ** 2); // (GB2)
        dz[2 * H + i] = dz_n;
        dq[2 * H + i] = dz_n * r[i]; // (GB3)
        dq[i] = dz[i] = dz_n * q_n[i] * r[i] * (1 - r[i]); // (GB4)
        dq[H + i] = dz[H + i] = da[i] * (before.a[i] - n[i]) * u[i] * (1 - u[i]); // (GB5)
        past[i] = da[i] * u[i];
      }
      return { dz, da: addBack(past, dq, w.W_aa) }; // what (GB1) adds, and (GB8)
    },
  },
  lstm: {
    step(xW, before, w, H) {
      const z = addProduct(Float64Array.from(xW), before.a, w.W_aa); // (LF1)
      const [a, c, i, f, g, o] = Array.from({ length: 6 }, () => new Float32Array(H));
      for (let k = 0; k < H; k++) {
        i[k] = sigmoid(z[k]); // (LF2)
        f[k] = sigmoid(z[H + k]);
        g[k] = Math.tanh(z[2 * H + k]);
        o[k] = sigmoid(z[3 * H + k]);
        c[k] = f[k] * before.c[k] + i[k] * g[k]; // (LF3)
        a[k] = o[k] * Math.tanh(c[k]); // (LF4)
      }
      return { a, c, i, f, g, o };
    },
    back(da, dc, { c, i, f, g, o }, before, w, H) {
      const dz = new Float64Array(4 * H), past = new Float64Array(H);
      for (let k = 0; k < H; k++) {
        const tanh_c = Math.tanh(c[k]);
        dc[k] += da[k] * o[k] * (1 - tanh_c ** 2); // (LB2), whole now
        dz[k] = dc[k] * g[k] * i[k] * (1 - i[k]); // (LB3)
        dz[H + k] = dc[k] * before.c[k] * f[k] * (1 - f[k]);
        dz[2 * H + k] = dc[k] * i[k] * (1 - g[k] ** 2);
        dz[3 * H + k] = da[k] * tanh_c * o[k] * (1 - o[k]); // (LB4)
        past[k] = dc[k] * f[k]; // what (LB2) adds, and (LB5)
      }
      return { dz, da: addBack(new Float64Array(H), dz, w.W_aa), dc: past }; // what (LB1) adds, and (LB5)
    },
  },
};

class Network {
  constructor(run) {
    const { H, L, symbols, bytes } = run;
    Object.assign(this, { H, L, V: symbols.length, symbols, bytes, cell: CELLS[run.cell] });
    this.size = 0; // how many numbers its parameters are
    const p = {};
    for (const [name, array] of Object.entries(run.weights)) {
      p[name] = unpack(array);
      this.size += p[name].length;
    }
    this.p = p;
    this.w = Array.from({ length: run.L }, (_, layer) => {
      const name = (base) => p[layer ? `${base}[${layer + 1}]` : base];
      return { W_ax: name("W_ax"), W_aa: name("W_aa"), b_a: name("b_a"), b_n: name("b_n") };
    });
    this.rows = Array.from({ length: this.V }, (_, x) => this.row(x));
    this.index = new Map(run.symbols.map((symbol, token) => [symbol, token]));
  }

  /** x⟨t⟩ W_ax + b_a of a one-hot x⟨t⟩: a row of W_ax; with an embedding, a row of W_ex times W_ax. */
  row(x) {
    const { W_ax, b_a } = this.w[0], n = b_a.length, E = this.p.W_ex ? this.p.W_ex.length / this.V : 0;
    const xW = Float64Array.from(b_a);
    if (E) return addProduct(xW, this.p.W_ex.subarray(x * E, (x + 1) * E), W_ax);
    return xW.map((b, j) => b + W_ax[x * n + j]);
  }

  /** The state at the start of a text. */
  begin() {
    return this.w.map(() => ({ a: new Float32Array(this.H), c: new Float32Array(this.H) }));
  }

  /** Read one character: what each layer computes, which is the state after it. */
  step(x, before) {
    const layers = [];
    for (let layer = 0; layer < this.L; layer++) {
      const w = this.w[layer];
      const xW = layer ? addProduct(Float64Array.from(w.b_a), layers[layer - 1].a, w.W_ax) : this.rows[x];
      layers.push(this.cell.step(xW, before[layer], w, this.H));
    }
    return layers;
  }

  /** The logits of the next character: the inside of (F3). */
  logits(layers) {
    return Float32Array.from(addProduct(Float64Array.from(this.p.b_y), layers[this.L - 1].a, this.p.W_ya));
  }

  /**
   * The lengths of ∂L/∂a⟨s⟩ at each step back from the loss of character y, the last step first; of an LSTM also
   * those of ∂L/∂c⟨s⟩. With several layers, of all their states side by side.
   *
   * @param steps what each character read left behind
   */
  reach(steps, y) {
    const { H, L, w } = this, found = { a: [], c: [] };
    const dlogits = softmax(this.logits(steps.at(-1)));
    dlogits[y] -= 1; // (B1)
    const direct = addBack(new Float64Array(H), dlogits, this.p.W_ya); // the first term of (B3)
    const from = w.map(() => ({ da: new Float64Array(H), dc: new Float64Array(H) })); // from step t+1
    for (let t = steps.length - 1; t >= Math.max(0, steps.length - BACK); t--) {
      let above = t === steps.length - 1 ? direct : new Float64Array(H), squares = { a: 0, c: 0 };
      for (let layer = L - 1; layer >= 0; layer--) {
        const { da, dc } = from[layer];
        for (let i = 0; i < H; i++) da[i] += above[i]; // (B3), (GB1), (LB1): whole now
        const before = t ? steps[t - 1][layer] : this.begin()[layer];
        const back = this.cell.back(da, dc, steps[t][layer], before, w[layer], H);
        for (let i = 0; i < H; i++) {
          squares.a += da[i] ** 2;
          squares.c += dc[i] ** 2;
        }
        if (layer) above = addBack(new Float64Array(H), back.dz, w[layer].W_ax); // (B8)
        from[layer] = { da: back.da, dc: back.dc ?? dc };
      }
      found.a.push(Math.sqrt(squares.a));
      found.c.push(Math.sqrt(squares.c));
    }
    return this.cell === CELLS.lstm ? found : { a: found.a };
  }

  /** The characters of a text that the network knows, as integers. */
  encode(text) {
    const symbols = this.bytes ? new TextEncoder().encode(text) : Array.from(text, (c) => c.codePointAt(0));
    return Array.from(symbols, (symbol) => this.index.get(symbol)).filter((x) => x !== undefined);
  }

  /** A function from one integer after another to what is to be shown: of bytes, characters once complete. */
  decoder() {
    if (!this.bytes) return (x) => String.fromCodePoint(this.symbols[x]);
    const utf8 = new TextDecoder();
    return (x) => utf8.decode(Uint8Array.of(x), { stream: true });
  }
}

/** ŷ of some logits (F3). */
function softmax(logits) {
  const max = Math.max(...logits), e = Float64Array.from(logits, (x) => Math.exp(x - max));
  const total = e.reduce((sum, x) => sum + x, 0);
  return e.map((x) => x / total);
}

/** −log ŷ[y] in nats (F4). */
function nats(logits, y) {
  const max = Math.max(...logits);
  return Math.log(logits.reduce((sum, x) => sum + Math.exp(x - max), 0)) - (logits[y] - max);
}

// -- chance: the numbers that np.random.default_rng(seed).random() gives ------------------------------------

/** Eight words of 32 bits, from a seed: NumPy's SeedSequence. */
function seedWords(seed) {
  const entropy = [];
  do {
    entropy.push(Number(seed & 0xffffffffn));
    seed >>= 32n;
  } while (seed);
  let constant = 0x43b0d7e5;
  const hash = (word) => {
    word ^= constant;
    constant = Math.imul(constant, 0x931e8875);
    word = Math.imul(word, constant);
    return word ^ (word >>> 16);
  };
  const mix = (x, y) => {
    const word = Math.imul(x, 0xca01f9dd) - Math.imul(y, 0x4973f715);
    return word ^ (word >>> 16);
  };
  const pool = [0, 1, 2, 3].map((i) => hash(entropy[i] ?? 0));
  for (let i = 0; i < 4; i++) for (let j = 0; j < 4; j++) if (i !== j) pool[j] = mix(pool[j], hash(pool[i]));
  for (const word of entropy.slice(4)) for (let j = 0; j < 4; j++) pool[j] = mix(pool[j], hash(word));
  constant = 0x8b51f9dd;
  return Array.from({ length: 8 }, (_, i) => {
    let word = pool[i % 4] ^ constant;
    constant = Math.imul(constant, 0x58f38ded);
    word = Math.imul(word, constant);
    return (word ^ (word >>> 16)) >>> 0;
  });
}

/** A function that draws numbers in [0, 1): PCG64 (O'Neill 2014), a step of 128 bits and a turned xor. */
function generator(seed) {
  const words = seedWords(seed).map(BigInt), mask = (1n << 128n) - 1n;
  const [high, low, streamHigh, streamLow] = [0, 2, 4, 6].map((i) => words[i] | (words[i + 1] << 32n));
  const increment = ((((streamHigh << 64n) | streamLow) << 1n) | 1n) & mask;
  const next = (s) => (s * 0x2360ed051fc65da44385df649fccf645n + increment) & mask;
  let s = next((next(0n) + ((high << 64n) | low)) & mask);
  return () => {
    s = next(s);
    const word = BigInt.asUintN(64, (s >> 64n) ^ s), turn = s >> 122n;
    const turned = BigInt.asUintN(64, (word >> turn) | (word << ((64n - turn) & 63n)));
    return Number(turned >> 11n) * 2 ** -53;
  };
}

/** Draw a character as charrnn/model/sampling.py does. */
function draw(logits, { temperature, topK, topP }, random) {
  const V = logits.length, max = Math.max(...logits);
  if (temperature === 0) return logits.indexOf(max);
  const w = Float64Array.from(logits, (x) => Math.exp((x - max) / Math.max(temperature, 1e-200)));
  if ((topK > 0 && topK < V) || topP < 1) {
    const order = Array.from(w.keys()).sort((i, j) => w[j] - w[i] || i - j); // likeliest first
    if (topK) for (const i of order.slice(topK)) w[i] = 0;
    const total = order.reduce((sum, i) => sum + w[i], 0);
    let upto = 0; // the mass of all likelier ones
    for (const i of order) {
      const mass = w[i];
      if (upto >= topP * total) w[i] = 0;
      upto += mass;
    }
  }
  for (let i = 1; i < V; i++) w[i] += w[i - 1];
  const u = random() * w[V - 1], found = w.findIndex((upto) => upto > u);
  return found < 0 ? V - 1 : found;
}

// -- the page ---------------------------------------------------------------------------------------

const $ = (id) => document.getElementById(id);
const networks = DATA.runs.map(() => null); // each unpacked when it is first shown
// What a link holds.
const page = { run: 0, unit: 0, lens: "unit", state: "a", source: "shown", text: "", t: 0, cut: 0 };
let run, network; // the one that is shown
let reading = { tokens: [], steps: [], logits: [], spans: [], reach: null }; // the text that is read
let scale = 1; // the largest activation of the chosen unit in that text

function percent(x) {
  if (x > 0 && x < 1e-4) return "less than 0.01%";
  return `${x >= 0.0995 ? Math.round(100 * x) : Number((100 * x).toPrecision(2))}%`;
}

const count = (n) => n.toLocaleString("en");
const NAMES = { " ": "space", "\n": "line end", "\t": "tab", "\r": "return" };
const nameOf = (glyph) => NAMES[glyph] ?? (glyph === "" ? "part of a letter" : glyph);

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function letterSpan(glyph) {
  const span = make("span", { textContent: glyph });
  if (glyph === "\n") span.classList.add("end");
  return span;
}

/** Colour a letter: ``kind`` names the colour, ``strength`` from 0 to 1 how much of it. */
function tint(span, kind, strength) {
  const v = Math.max(0, Math.min(1, strength)).toFixed(2), tinted = v > 0 ? kind + v : "";
  if (span.tinted === tinted) return;
  span.classList.remove("high", "low", "surprise", "reach");
  if (tinted) span.classList.add(kind);
  span.style.setProperty("--v", v);
  span.tinted = tinted;
}

const activation = (layers, unit) => layers[Math.floor(unit / network.H)].a[unit % network.H];

function tintByUnit(span, layers) {
  const a = activation(layers, page.unit);
  tint(span, a > 0 ? "high" : "low", Math.abs(a) / scale);
}

function sentence(number) {
  const unit = run.units.find((unit) => unit.number === number);
  return `Unit ${number} ${unit ? `${unit.words}, r = ${minus(unit.r)}` : "follows nothing that was looked for"}`;
}

const minus = (x) => x.toFixed(2).replace(/^-0.00$/, "0.00").replace("-", "−");

function showScale(element, kind, low, high) {
  element.className = `scale ${kind}`;
  element.querySelector(".low").textContent = low;
  element.querySelector(".high").textContent = high;
}

// -- it writes --------------------------------------------------------------------------------------

const writer = { playing: false, owed: 0, last: 0, rate: 0 };

function settings() {
  const number = (id, otherwise) => ($(id).value && $(id).validity.valid ? $(id).valueAsNumber : otherwise);
  return {
    opening: $("opening").value,
    temperature: number("temperature", 0.6),
    topK: number("top-k", 0),
    topP: number("top-p", 1),
    seed: BigInt(/^\d+$/.test($("seed").value) ? $("seed").value : number("seed", 0)),
  };
}

function restart() {
  const { opening, seed } = writer.settings = settings();
  Object.assign(writer, { tokens: [], layers: [], spans: [], drawn: 0, owed: 0 });
  Object.assign(writer, { decode: network.decoder(), random: generator(seed) });
  $("written").textContent = "";
  const start = network.encode(opening);
  writer.dropped = !network.bytes && start.length < Array.from(opening).length; // letters that it does not know
  let state = network.begin(), logits = new Float32Array(network.V); // with nothing to go on from, any letter
  for (const x of start.length ? start : network.encode("\n")) {
    state = network.step(x, state);
    logits = network.logits(state);
    if (start.length) append(x, state);
  }
  Object.assign(writer, { state, logits });
  showCommand();
}

function append(x, layers) {
  const span = letterSpan(writer.decode(x));
  tintByUnit(span, layers);
  $("written").append(span);
  writer.tokens.push(x);
  writer.layers.push(layers.map(({ a }) => ({ a })));
  writer.spans.push(span);
  if (writer.spans.length > KEPT) {
    writer.spans.shift().remove();
    writer.tokens.shift();
    writer.layers.shift();
  }
}

/** Write letters while ``more`` says so; whoever looks at the end goes on doing so. */
function write(more) {
  const box = $("written"), drawn = writer.drawn;
  const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  while (more(writer.drawn - drawn)) {
    const x = draw(writer.logits, writer.settings, writer.random);
    writer.state = network.step(x, writer.state);
    writer.logits = network.logits(writer.state);
    writer.drawn++;
    append(x, writer.state);
  }
  if (writer.drawn === drawn) return;
  if (atEnd) box.scrollTop = box.scrollHeight;
  showCommand();
}

/** Letters a second that are asked for; the end of the slider is as many as there is time for. */
function speed() {
  const exponent = $("speed").valueAsNumber;
  return exponent >= 10 ? Infinity : 2 ** exponent;
}

function tick(time) {
  if (!writer.playing) return;
  const elapsed = Math.min(100, time - writer.last), drawn = writer.drawn;
  const stop = performance.now() + Math.max(12, 0.6 * elapsed); // of slow frames, the larger part
  writer.last = time;
  writer.owed = Math.min(200, writer.owed + (speed() * elapsed) / 1000 || 0);
  write((done) => done + 1 <= writer.owed && performance.now() < stop);
  writer.owed -= writer.drawn - drawn;
  if (elapsed) writer.rate += 0.05 * ((1000 * (writer.drawn - drawn)) / elapsed - writer.rate);
  showSpeed();
  requestAnimationFrame(tick);
}

function showSpeed() {
  const rate = speed() === Infinity ? writer.rate : speed();
  $("speed-says").textContent = `${count(Math.round(rate))} letters/s`;
}

function play(on) {
  if (on && !writer.playing) {
    writer.last = performance.now();
    requestAnimationFrame(tick);
  }
  writer.playing = on;
  $("play").textContent = on ? "Pause" : "Write";
  $("written").classList.toggle("on", on);
}

function showCommand() {
  const { opening, temperature, topK, topP, seed } = writer.settings;
  const words = ["charrnn sample", run.name, `--seed ${seed} --temperature ${temperature} --length ${writer.drawn}`];
  if (topK) words.push(`--top-k ${topK}`);
  if (topP < 1) words.push(`--top-p ${topP}`);
  if (writer.dropped) words.push("--ignore-unknown");
  if (opening) words.push(`--prime '${opening.replaceAll("'", "'\\''")}'`);
  if (run.which !== "best" && !run.name.endsWith(`/${run.which}.npz`)) words.push(`--which ${run.which}`);
  $("command").textContent = words.join(" ");
}

// -- it reads ---------------------------------------------------------------------------------------

/** Begin to read the text that is chosen, in slices of a few milliseconds. */
function read() {
  const own = page.source !== "shown";
  const tokens = own ? network.encode(page.text) : run.shown, decode = network.decoder();
  const job = reading = { tokens, steps: [], logits: [], costs: [], spans: [], reach: null };
  reading.spans = tokens.map((x) => letterSpan(decode(x)));
  $("text").replaceChildren(...reading.spans);
  $("own-label").hidden = page.source !== "own";
  const dropped = own && !network.bytes ? Array.from(page.text).length - tokens.length : 0;
  $("own-says").textContent = dropped ? `${dropped} letters that the network does not know are left out.` : "";
  scale = 1;
  page.t = Math.max(0, Math.min(page.t, tokens.length - 1));
  let state = network.begin();
  const slice = () => {
    if (job !== reading) return; // another text has been chosen
    const from = job.steps.length, stop = performance.now() + 25;
    while (job.steps.length < tokens.length && performance.now() < stop) {
      const t = job.steps.length;
      job.costs.push(t ? nats(job.logits[t - 1], tokens[t]) : NaN); // nothing has been read before the first
      state = network.step(tokens[t], state);
      job.steps.push(state);
      job.logits.push(network.logits(state));
    }
    if (job.steps.length < tokens.length) {
      if (page.lens !== "reach") for (let t = from; t < job.steps.length; t++) tintLetter(t);
      setTimeout(slice);
    } else {
      finishReading();
    }
  };
  slice();
}

function finishReading() {
  const costs = reading.costs.slice(1), total = costs.reduce((sum, x) => sum + x, 0);
  const each = total / costs.length;
  const both = `${each.toFixed(3)} nats, ${(each / Math.LN2).toFixed(3)} bits per character`;
  $("total").textContent = costs.length
    ? `${count(costs.length)} letters cost ${count(Math.round(total))} nats: ${both}.`
    : "";
  rescale();
  choose(page.t, false);
}

function rescale() {
  scale = reading.steps.reduce((most, layers) => Math.max(most, Math.abs(activation(layers, page.unit))), 1e-6);
  writer.spans.forEach((span, i) => tintByUnit(span, writer.layers[i]));
  for (const element of document.querySelectorAll(".caption-unit")) element.textContent = `${sentence(page.unit)}.`;
  showScale(document.querySelector("#writes ~ figure .scale"), "", minus(-scale), minus(scale));
}

function tintLetter(t) {
  const span = reading.spans[t], { a } = reading.reach ?? {};
  if (page.lens === "unit") tintByUnit(span, reading.steps[t]);
  else if (page.lens === "surprise") tint(span, "surprise", (reading.costs[t] || 0) / Math.log(network.V));
  else {
    const lengths = reading.reach?.[page.state] ?? a ?? [], back = page.t - 1 - t;
    const length = back >= 0 && back < lengths.length ? lengths[back] : 0;
    tint(span, "reach", length ? 1 + Math.log10(length / Math.max(...lengths)) / DECADES : 0);
  }
}

function tintText() {
  for (let t = 0; t < reading.steps.length; t++) tintLetter(t);
  const V = Math.log(network.V).toFixed(1);
  $("caption").textContent = {
    unit: `${sentence(page.unit)}.`,
    surprise: "How many nats each letter cost, given those before it.",
    reach: `How long the gradient ∂L/∂${page.state} of the chosen letter’s loss is at each letter before it.`,
  }[page.lens];
  const [low, high] = {
    unit: [minus(-scale), minus(scale)], surprise: ["0", `${V} nats`], reach: ["10⁻⁴", "longest"],
  }[page.lens];
  showScale($("scale"), page.lens === "unit" ? "" : page.lens, low, high);
}

/** Choose a letter of the text that is read. */
function choose(t, follow = true) {
  if (!reading.tokens.length) return;
  reading.spans[page.t]?.classList.remove("chosen");
  page.t = Math.max(0, Math.min(t, reading.tokens.length - 1));
  if (page.t >= reading.steps.length) return; // not read yet: finishReading comes back to it
  const span = reading.spans[page.t];
  span.classList.add("chosen");
  const box = $("text"), top = span.offsetTop - box.offsetTop;
  if (follow || page.t) {
    if (top < box.scrollTop) box.scrollTop = top - 20;
    else if (top > box.scrollTop + box.clientHeight - 50) box.scrollTop = top - box.clientHeight + 60;
  }
  reading.reach = page.t ? network.reach(reading.steps.slice(0, page.t), reading.tokens[page.t]) : null;
  tintText();
  showLetter();
  showReach();
  remember();
}

function showLetter() {
  const { t } = page, glyph = reading.spans[t].textContent;
  $("letter").textContent = `Letter ${count(t + 1)}: ${nameOf(glyph)}`;
  const list = $("guesses");
  list.replaceChildren();
  const a = `unit ${page.unit} ${minus(activation(reading.steps[t], page.unit))}`;
  if (!t) {
    $("cost").textContent = `The first: nothing has been read before it. Then ${a}.`;
    return;
  }
  const chances = softmax(reading.logits[t - 1]), came = reading.tokens[t];
  $("cost").textContent =
    `It cost ${reading.costs[t].toFixed(2)} nats, after it ${a}. Before it, the network expected:`;
  const order = Array.from(chances.keys()).sort((i, j) => chances[j] - chances[i]);
  const best = order.slice(0, 8);
  if (!best.includes(came)) best[7] = came;
  for (const x of best) {
    const bar = make("i");
    bar.style.setProperty("--p", chances[x] / chances[order[0]]);
    const symbol = network.symbols[x], name = network.bytes ? byteName(symbol) : nameOf(String.fromCodePoint(symbol));
    const cells = [name, bar, percent(chances[x]).replace("less than ", "<")].map((content) => make("span", {}, content));
    list.append(make("li", { className: x === came ? "came" : "" }, ...cells));
  }
}

function byteName(byte) {
  const character = String.fromCharCode(byte), hex = byte.toString(16).toUpperCase().padStart(2, "0");
  return byte >= 33 && byte < 127 ? character : NAMES[character] ?? `byte ${hex}`;
}

function showReach() {
  const lengths = reading.reach?.[page.state] ?? [], median = run.reach[page.state] ?? [];
  const other = page.state === "a" ? "c" : "a"; // of an LSTM both are drawn: one alone misleads
  const most = Math.max(...lengths, ...median, ...(reading.reach?.[other] ?? []), 1e-30);
  const points = (ys) => ys.map((y, x) => [x, y]).filter(([x, y]) => x <= 200 && y > 1e-9 * most);
  const here = points(lengths), usual = points(median), beside = points(reading.reach?.[other] ?? []);
  const least = Math.min(most / 10, ...[...here, ...usual, ...beside].map(([, y]) => y));
  plot($("reach"), {
    label: "The length of the gradient by distance from the loss, on a logarithmic scale",
    height: 210, x: [0, 200], y: [least, most], log: true,
    xTitle: "letters back", yTitle: `‖∂L/∂${page.state}‖`,
    lines: [{ points: usual, kind: "pale" }, { points: beside, kind: "dashed" }, { points: here, kind: "curve" }],
    uprights: [{ x: page.cut, label: `T = ${page.cut}` }],
  });
  const sum = (ys) => ys.reduce((total, y) => total + y, 0);
  $("cut-says").textContent = page.cut;
  const share = percent(sum(lengths.slice(page.cut)) / sum(lengths) || 0);
  $("cut-share").textContent = [
    lengths.length ? `It would cut off ${share} of what this letter’s loss sends back (the lengths added up).` : "",
    median.length ? `Pale: the median over ${run.reach.count} letters.` : "",
    beside.length ? `Dashed: the gradient by ${other}.` : "",
  ].join(" ");
}

// -- units ------------------------------------------------------------------------------------------

function showTable() {
  const kind = $("kind").value;
  $("table").replaceChildren(...run.units.filter((unit) => !kind || unit.kind === kind).map((unit) => {
    const choose = make("button", { type: "button", textContent: unit.number });
    choose.setAttribute("aria-label", `Colour the text by unit ${unit.number}`);
    const bar = make("span", { className: `bar ${unit.r > 0 ? "high" : "low"}` });
    bar.style.setProperty("--r", Math.abs(unit.r));
    const row = make(
      "tr", {}, make("td", {}, choose), make("td", {}, unit.words), make("td", {}, bar, minus(unit.r)),
      make("td", { className: "weak" }, minus(unit.shuffled)),
    );
    row.classList.toggle("weak", Math.abs(unit.r) < 0.3);
    row.unit = unit.number;
    return row;
  }));
  markUnit();
}

function markUnit() {
  for (const row of $("table").rows) {
    row.classList.toggle("chosen", row.unit === page.unit);
    row.querySelector("button").setAttribute("aria-pressed", row.unit === page.unit);
  }
}

function chooseUnit(number) {
  page.unit = Math.max(0, Math.min(number, run.L * run.H - 1));
  $("unit").value = page.unit;
  markUnit();
  rescale();
  if (reading.steps.length === reading.tokens.length && reading.tokens.length) {
    tintText();
    showLetter();
  }
  remember();
}

// -- figures ----------------------------------------------------------------------------------------

/** Round numbers between two others. */
function ticks([low, high], log) {
  const found = [];
  if (log) {
    const from = Math.ceil(Math.log10(low) - 1e-9), to = Math.floor(Math.log10(high) + 1e-9);
    if (to - from < 2) {
      for (let k = from - 1; k <= to; k++) for (const factor of [1, 2, 5]) found.push(factor * 10 ** k);
      return found.filter((x) => x >= low && x <= high);
    }
    for (let k = from; k <= to; k += Math.ceil((to - from) / 5)) found.push(10 ** k);
    return found;
  }
  const rough = (high - low) / 4, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  for (let x = Math.ceil(low / step - 1e-9) * step; x <= high * (1 + 1e-9); x += step) found.push(x);
  return found;
}

function say(x, log) {
  const power = Math.round(Math.log10(x));
  if (log && Math.abs(power) > 3) return `10${String(power).replace(/./g, (c) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[c] ?? "⁻")}`;
  return Math.abs(x) >= 1e4 ? count(x) : String(Number(x.toPrecision(3))).replace("-", "−");
}

/** Draw lines of kinds, dots, labelled levels and uprights into a box, as wide as it is. */
function plot(box, { label, height = 250, x, y, log, xTitle, yTitle, lines, dots = [], levels = [], uprights = [] }) {
  const width = Math.max(240, box.clientWidth), left = 48, right = levels.length ? 86 : 12, top = 22, bottom = 36;
  const g = log ? Math.log10 : (value) => value;
  const X = (value) => left + ((value - x[0]) / (x[1] - x[0] || 1)) * (width - left - right);
  const Y = (value) => top + ((g(y[1]) - g(value)) / (g(y[1]) - g(y[0]) || 1)) * (height - top - bottom);
  const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  for (const value of ticks(y, log)) {
    svg.append(element("line", { class: "tick", x1: left, x2: width - right, y1: Y(value), y2: Y(value) }));
    svg.append(element("text", { x: left - 8, y: Y(value) + 4, "text-anchor": "end" }, say(value, log)));
  }
  for (const value of ticks(x)) {
    svg.append(element("text", { x: X(value), y: height - bottom + 18, "text-anchor": "middle" }, say(value)));
  }
  svg.append(element("text", { x: width - right, y: height - 3, "text-anchor": "end" }, xTitle));
  svg.append(element("text", { x: 0, y: 11 }, yTitle));
  const named = []; // levels that lie too near for a label each share one
  for (const { y: value, label: text } of [...levels].sort((one, other) => one.y - other.y)) {
    svg.append(element("line", { class: "dashed", x1: left, x2: width - right, y1: Y(value), y2: Y(value) }));
    const last = named.at(-1);
    if (last && last.at - Y(value) < 13) last.text = `${last.text.replace("-gram", "")}, ${text}`;
    else named.push({ at: Y(value), text });
  }
  for (const { at, text } of named) svg.append(element("text", { x: width - right + 6, y: at + 4 }, text));
  for (const { points, kind } of lines) {
    const at = points.map(([px, py]) => `${X(px).toFixed(1)},${Y(Math.max(y[0], Math.min(y[1], py))).toFixed(1)}`);
    svg.append(element("polyline", { class: kind, points: at.join(" ") }));
  }
  for (const [px, py] of dots) svg.append(element("circle", { class: "dots", cx: X(px), cy: Y(py), r: 3.5 }));
  for (const { x: value, label: text } of uprights) {
    const [side, anchor] = value > (x[0] + x[1]) / 2 ? [-5, "end"] : [5, "start"];
    svg.append(element("line", { class: "cut", x1: X(value), x2: X(value), y1: top, y2: height - bottom }));
    svg.append(element("text", { class: "strong", x: X(value) + side, y: top + 10, "text-anchor": anchor }, text));
  }
  box.replaceChildren(svg);
}

function element(tag, attributes, text = "") {
  const found = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) found.setAttribute(name, value);
  found.textContent = text;
  return found;
}

function showCurves() {
  const { loss, val_loss, grad_norm, learning_rate } = run.curves;
  const lengths = grad_norm.filter(([, y]) => y > 0), ys = (points) => points.map(([, y]) => y);
  const x = [0, Math.max(1e-9, ...loss.map(([epoch]) => epoch))], xTitle = "epoch";
  const levels = Object.entries(run.to_beat).map(([name, y]) => (
    { y, label: name === "uniform" ? `ln ${network.V}` : name }
  ));
  const losses = [...ys(loss), ...ys(val_loss), ...levels.map(({ y }) => y)];
  for (const id of ["loss", "gradient", "rate"]) $(id).replaceChildren("No step has been logged yet.");
  if (loss.length) {
    plot($("loss"), {
      label: "Loss over the epochs", height: 300, x, y: [Math.min(...losses) - 0.1, Math.max(...losses)],
      xTitle, yTitle: "nats per character", dots: val_loss, levels,
      lines: [{ points: loss, kind: "pale" }, { points: val_loss, kind: "curve" }],
    });
    plot($("rate"), {
      label: "Learning rate over the epochs", x, y: [0, Math.max(...ys(learning_rate))],
      xTitle, yTitle: "rate", lines: [{ points: learning_rate, kind: "curve" }],
    });
  }
  if (lengths.length) {
    plot($("gradient"), {
      label: "Length of the gradient over the epochs", height: 300, log: true,
      x, y: [Math.min(...ys(lengths)), Math.max(...ys(lengths))],
      xTitle, yTitle: "‖dL‖", lines: [{ points: lengths, kind: "curve" }],
    });
  }
  showEigenvalues();
}

function showEigenvalues() {
  const { start, now } = run.eigenvalues, box = $("eigenvalues");
  const width = Math.max(240, box.clientWidth), height = 300;
  const both = (values) => values.flat().flatMap(([re, im]) => (im ? [[re, im], [re, -im]] : [[re, im]]));
  const points = both([...start, ...now, [[-1, 0], [1, 0], [0, 1]]]), parts = points.map(([re]) => re);
  const left = Math.min(...parts), right = Math.max(...parts), high = Math.max(...points.map(([, im]) => im));
  const unit = Math.min((width - 16) / (right - left), (height - 16) / (2 * high));
  const X = (re) => width / 2 + unit * (re - (left + right) / 2), Y = (im) => height / 2 - unit * im;
  const label = "Eigenvalues of W_aa beside the unit circle";
  const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  svg.append(element("line", { class: "axis", x1: 0, x2: width, y1: Y(0), y2: Y(0) }));
  svg.append(element("line", { class: "axis", x1: X(0), x2: X(0), y1: 0, y2: height }));
  svg.append(element("circle", { class: "pale", cx: X(0), cy: Y(0), r: unit }));
  for (const [re, im] of both(start)) svg.append(element("circle", { class: "start", cx: X(re), cy: Y(im), r: 2.5 }));
  for (const [re, im] of both(now)) svg.append(element("circle", { class: "dots", cx: X(re), cy: Y(im), r: 2.5 }));
  box.replaceChildren(svg);
  const part = { rnn: "", gru: ", the part of n⟨t⟩", lstm: ", the part of g⟨t⟩" }[run.cell];
  $("eigenvalues-says").textContent =
    `The eigenvalues of W_aa${part}, beside the unit circle: filled now${start.length ? ", hollow at the start" : ""}. `
    + "Along those outside the circle a product with W_aa grows, along those inside it shrinks.";
}

// -- the state in the link --------------------------------------------------------------------------

const FIELDS = ["opening", "temperature", "top-k", "top-p", "seed"];

function remember() {
  const link = new URLSearchParams();
  if (DATA.runs.length > 1) link.set("run", run.name);
  link.set("unit", page.unit);
  if (page.lens !== "unit") link.set("lens", page.lens);
  if (page.state !== "a") link.set("by", page.state);
  if (page.cut !== run.T) link.set("T", page.cut);
  if (page.source !== "shown") link.set("text", page.text);
  link.set("t", page.t);
  for (const id of FIELDS) if ($(id).value !== $(id).defaultValue) link.set(id, $(id).value);
  page.link = `#${link}`;
  if (location.hash !== page.link) location.replace(page.link);
}

/** Choose one of several radio buttons. */
function check(name, value) {
  const button = document.querySelector(`[name=${name}][value="${value}"]`);
  if (button) button.checked = true;
}

function recall() {
  const link = new URLSearchParams(location.hash.slice(1));
  const whole = (name, otherwise) => (/^\d{1,9}$/.test(link.get(name) ?? "") ? Number(link.get(name)) : otherwise);
  page.run = Math.max(0, DATA.runs.findIndex(({ name }) => name === link.get("run")));
  for (const id of FIELDS) $(id).value = link.get(id) ?? $(id).defaultValue;
  page.lens = ["surprise", "reach"].find((lens) => lens === link.get("lens")) ?? "unit";
  page.state = link.get("by") === "c" ? "c" : "a";
  page.text = (link.get("text") ?? "").slice(0, 4000);
  page.source = link.has("text") ? "own" : "shown";
  $("own").value = page.text;
  for (const name of ["lens", "state", "source"]) check(name, page[name]);
  showRun(whole("unit"), whole("t"), whole("T"));
}

/** Show a run, with what the link says of it or what there is to see first. */
function showRun(unit, t, cut) {
  run = DATA.runs[page.run];
  network = networks[page.run] ??= new Network(run);
  if (run.cell !== "lstm") page.state = "a";
  check("state", page.state);
  check("run", page.run);
  document.body.classList.toggle("code", run.code);
  $("state").hidden = run.cell !== "lstm";
  const units = run.L * run.H, first =
    run.units.find(({ feature, r }) => SWITCHES.includes(feature) && Math.abs(r) > 0.4)
    ?? run.units.find(({ kind }) => kind === "remembers") ?? run.units[0] ?? { number: 0 };
  page.unit = Math.min(unit ?? first.number, units - 1);
  page.t = t ?? Math.min(160, run.shown.length - 1);
  page.cut = Math.max(1, Math.min(200, cut ?? run.T));
  $("unit").value = page.unit;
  $("unit").max = units - 1;
  $("cut").value = page.cut;
  describe(units);
  showTable();
  restart();
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
    write((done) => done < 600);
    play(false);
  } else play(true);
  showCurves();
  read();
}

/** What is said in words of a run. */
function describe(units) {
  const name = { rnn: "A tanh network", gru: "A GRU", lstm: "An LSTM" }[run.cell];
  const layers = run.L > 1 ? ` in each of ${run.L} layers` : "";
  const rounding = { int8: "rounded to 8 bits", float16: "rounded to 16 bits", float32: "" }[run.precision];
  $("about").textContent =
    `${name} of ${count(run.H)} units${layers}, trained on the ${count(run.characters)} characters of `
    + `“${run.corpus}”. Its ${count(network.size)} weights are in this page, and all that moves below is computed `
    + "here, by the equations that trained it. Nothing is loaded, and nothing is sent.";
  $("exactness").textContent = rounding
    && `But here the weights are ${rounding}, so the two part after a while; a page made with --precision float32 `
    + "writes the same.";
  $("units-about").textContent =
    "Each unit is a number that the network carries from letter to letter. Here is what each follows best of some "
    + "sixty things that a text has, and how well: r is a correlation. Choose one to colour both texts by it.";
  $("unnamed").textContent =
    `${count(units - run.units.length)} of ${count(units)} units follow nothing that was looked for: they have no `
    + "name.";
  $("made").textContent =
    (rounding
      ? `The weights are ${rounding}, which changes the loss of the text above by ${signed(run.rounding)} nats per `
        + "character. "
      : "")
    + "A correlation is measured on another part of the text than the one that chose it, and again on the same "
    + "letters in a shuffled order; a unit has a name if it follows the text by 0.2 more. Made by charrnn page.";
}

const signed = (x) => `${x < 0 ? "−" : "+"}${Math.abs(x).toFixed(4)}`;

// -- what a reader does -----------------------------------------------------------------------------

function listen() {
  const on = (id, event, act) => $(id).addEventListener(event, act);
  on("play", "click", () => play(!writer.playing));
  on("step", "click", () => { play(false); write((done) => done < 1); });
  on("restart", "click", () => { restart(); play(true); });
  on("speed", "input", showSpeed);
  for (const id of FIELDS) on(id, "change", () => { restart(); play(true); remember(); });
  on("lens", "change", ({ target }) => { page.lens = target.value; tintText(); remember(); });
  on("state", "change", ({ target }) => { page.state = target.value; tintText(); showReach(); remember(); });
  on("source", "change", ({ target }) => {
    page.source = target.value;
    if (page.source === "written") page.text = writer.spans.slice(-1200).map((span) => span.textContent).join("");
    if (page.source === "own") page.text = $("own").value ||= page.text || '"Who is there?" said the fox.';
    page.t = 0;
    read();
    remember();
  });
  on("own", "input", ({ target }) => { page.text = target.value; page.t = 0; read(); remember(); });
  on("unit", "input", ({ target }) => { if (target.value && target.validity.valid) chooseUnit(target.valueAsNumber); });
  on("cut", "input", ({ target }) => { page.cut = target.valueAsNumber; showReach(); remember(); });
  on("kind", "change", showTable);
  on("table", "click", ({ target }) => { const row = target.closest("tr"); if (row) chooseUnit(row.unit); });
  on("runs", "change", ({ target }) => {
    page.run = Number(target.value);
    showRun(undefined, page.t, undefined);
    remember();
  });
  on("text", "click", ({ target }) => { const t = reading.spans.indexOf(target); if (t >= 0) choose(t); });
  on("text", "keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    const line = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (move === undefined && line === undefined) return;
    event.preventDefault();
    choose(line ? onNextLine(page.t, line) : page.t + move);
  });
  addEventListener("hashchange", () => { if (location.hash !== page.link) recall(); });
  document.addEventListener("visibilitychange", () => { writer.last = performance.now(); });
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width) return; // a phone's bar that comes and goes
    width = innerWidth;
    showCurves();
    showReach();
  });
}

/** The letter above or below another one. */
function onNextLine(t, way) {
  const { spans } = reading, x = spans[t].offsetLeft;
  let at = t;
  while (spans[at + way] && spans[at].offsetTop === spans[t].offsetTop) at += way;
  const top = spans[at].offsetTop;
  const distance = (i) => Math.abs(spans[i].offsetLeft - x);
  let best = at;
  for (; spans[at]?.offsetTop === top; at += way) if (distance(at) < distance(best)) best = at;
  return best;
}

if (DATA.runs.length > 1) {
  $("runs").hidden = false;
  DATA.runs.forEach(({ name }, i) => {
    const button = make("input", { type: "radio", name: "run", value: i });
    $("runs").append(make("label", {}, button, make("span", {}, name)));
  });
}
listen();
recall();

// What the page computes with, for a test or a console.
window.charrnn = { data: DATA, Network, generator, draw, softmax, nats, page, writer };
})();
