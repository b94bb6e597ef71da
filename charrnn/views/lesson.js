/* The lesson: the tensor of rule 3, a window forward and back, exercises.

   Every array comes from the program, as JSON. What a control changes is computed here anew, by the equations of
   charrnn/layers, whose tags stand beside the lines. */
"use strict";

// -- arrays of any number of axes, as NumPy computes with them ----------------------------------------

const size = (shape) => shape.reduce((n, m) => n * m, 1);
const shown = (shape) => `(${shape.join(", ")}${shape.length === 1 ? "," : ""})`;

class Nd {
  constructor(shape, values) {
    this.shape = shape;
    this.values = values ?? new Float64Array(size(shape));
  }
  get T() { return transpose(this, this.shape.map((_, i) => this.shape.length - 1 - i)); }
}

function nd(nested) {
  if (typeof nested === "number") return new Nd([], Float64Array.of(nested));
  const parts = nested.map(nd), out = new Nd([parts.length, ...(parts[0]?.shape ?? [])]);
  parts.forEach((part, i) => out.values.set(part.values, i * part.values.length));
  return out;
}

const strides = (shape) => shape.map((_, i) => size(shape.slice(i + 1)));

/* An array of a shape, whose entries are read from others with given strides, one for each axis. */
function gather(shape, sources, f) {
  const out = new Nd(shape), at = sources.map(([, , start]) => start ?? 0), index = shape.map(() => 0);
  for (let i = 0; i < out.values.length; i++) {
    out.values[i] = f(...sources.map(([array], k) => array.values[at[k]]));
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      index[axis]++;
      sources.forEach(([, steps], k) => { at[k] += steps[axis]; });
      if (index[axis] < shape[axis]) break;
      sources.forEach(([, steps], k) => { at[k] -= steps[axis] * shape[axis]; });
      index[axis] = 0;
    }
  }
  return out;
}

function broadcast(a, b, f) {
  const n = Math.max(a.shape.length, b.shape.length);
  const padded = ({ shape }) => [...Array(n - shape.length).fill(1), ...shape];
  const [p, q] = [padded(a), padded(b)];
  const shape = p.map((m, i) => {
    if (m !== q[i] && m !== 1 && q[i] !== 1) throw new Error(`${shown(a.shape)} and ${shown(b.shape)} do not fit`);
    return m === 1 ? q[i] : m;
  });
  const steps = (s) => strides(s).map((step, i) => (s[i] === 1 ? 0 : step));
  return gather(shape, [[a, steps(p)], [b, steps(q)]], f);
}

const map = (a, f) => new Nd(a.shape, a.values.map(f));
const add = (a, b) => broadcast(a, b, (x, y) => x + y);
const sub = (a, b) => broadcast(a, b, (x, y) => x - y);
const mul = (a, b) => broadcast(a, b, (x, y) => x * y);
const tanh = (a) => map(a, Math.tanh);
const sigma = (a) => map(a, (z) => 1 / (1 + Math.exp(-z)));
const slope = (a) => map(a, (x) => 1 - x * x); // of tanh, by its value
const bump = (a) => map(a, (x) => x * (1 - x)); // of σ, by its value

const transpose = (a, axes) =>
  gather(axes.map((i) => a.shape[i]), [[a, axes.map((i) => strides(a.shape)[i])]], (x) => x);

function matmul(a, b) {
  if (a.shape.length < 2 || b.shape.length < 2) throw new Error("@ takes arrays of two axes or more");
  const [n, k, m] = [a.shape.at(-2), a.shape.at(-1), b.shape.at(-1)];
  if (b.shape.at(-2) !== k) throw new Error(`${shown(a.shape)} @ ${shown(b.shape)} do not fit`);
  const each = ({ shape }) => new Nd(shape.slice(0, -2), Float64Array.from({ length: size(shape.slice(0, -2)) }, (_, i) => i));
  const pairs = broadcast(each(a), each(b), (i, j) => i * 1e6 + j);
  const out = new Nd([...pairs.shape, n, m]);
  pairs.values.forEach((pair, at) => {
    const i0 = Math.floor(pair / 1e6) * n * k, j0 = (pair % 1e6) * k * m;
    for (let i = 0; i < n; i++)
      for (let l = 0; l < k; l++)
        for (let j = 0; j < m; j++)
          out.values[(at * n + i) * m + j] += a.values[i0 + i * k + l] * b.values[j0 + l * m + j];
  });
  return out;
}

function sum(a, axes = a.shape.map((_, i) => i), keepdims = false) {
  axes = [axes].flat().map((axis) => (axis < 0 ? axis + a.shape.length : axis));
  if (axes.some((axis) => !(axis in a.shape))) throw new Error(`there is no such axis of ${shown(a.shape)}`);
  const kept = a.shape.map((m, i) => (axes.includes(i) ? 1 : m)), out = new Nd(kept);
  const steps = strides(kept).map((step, i) => (axes.includes(i) ? 0 : step));
  const place = gather(a.shape, [[{ values: Float64Array.from({ length: size(kept) }, (_, i) => i) }, steps]], (i) => i);
  place.values.forEach((at, i) => { out.values[at] += a.values[i]; });
  return keepdims ? out : new Nd(a.shape.filter((_, i) => !axes.includes(i)), out.values);
}

/* a[items]: a whole number, or [from, to), for each of the first axes. */
function slice(a, items) {
  const steps = strides(a.shape), shape = [], left = [];
  if (items.length > a.shape.length) throw new Error(`too many indices for ${shown(a.shape)}`);
  let start = 0;
  a.shape.forEach((m, i) => {
    const item = items[i] ?? [0, m], within = (j) => (j < 0 ? j + m : j);
    if (typeof item === "number") {
      if (!(within(item) >= 0 && within(item) < m)) throw new Error(`index ${item} is outside ${shown(a.shape)}`);
      start += steps[i] * within(item);
      return;
    }
    const [from, to] = [within(item[0] ?? 0), Math.min(m, within(item[1] ?? m))];
    start += steps[i] * from;
    shape.push(Math.max(0, to - from));
    left.push(steps[i]);
  });
  return gather(shape, [[a, left, start]], (x) => x);
}

/* The i-th of n equal parts of the last axis. */
function part(a, i, n) {
  const width = a.shape.at(-1) / n;
  return slice(a, [...a.shape.slice(0, -1).map((m) => [0, m]), [i * width, (i + 1) * width]]);
}

function beside(...parts) {
  const [rows] = parts[0].shape, widths = parts.map((p) => p.shape[1]), out = new Nd([rows, widths.reduce((a, b) => a + b)]);
  let column = 0;
  for (const p of parts) {
    for (let i = 0; i < rows; i++)
      out.values.set(p.values.subarray(i * p.shape[1], (i + 1) * p.shape[1]), i * out.shape[1] + column);
    column += p.shape[1];
  }
  return out;
}

// -- a window forward and back, one equation at a time ------------------------------------------------

/* What a cell does at step t with what it holds in m, and on the way back. ``show`` notes an equation: its tag,
   the step, and the arrays that stand in it, the result first. */
const CELLS = {
  rnn: {
    forward(t, m, p, show) {
      const [xW, aW] = [matmul(m.x[t], p.W_ax), matmul(m.a[t - 1], p.W_aa)];
      m.z[t] = add(add(xW, aW), p.b_a); // F1
      show("F1", t, [`z⟨${t}⟩`, m.z[t]], [`x⟨${t}⟩ W_ax`, xW], [`a⟨${t - 1}⟩ W_aa`, aW, "through"], ["b_a", p.b_a]);
      m.a[t] = tanh(m.z[t]); // F2
      show("F2", t, [`a⟨${t}⟩`, m.a[t]], [`z⟨${t}⟩`, m.z[t]]);
    },
    backward(t, m, p, show) {
      const through = m.dz[t + 1] && matmul(m.dz[t + 1], p.W_aa.T);
      m.da[t] = through ? add(m.direct[t], through) : m.direct[t]; // B3
      show("B3", t, [`da⟨${t}⟩`, m.da[t]], ["direct", m.direct[t], "direct"], ["from the next step", through, "through"]);
      m.dz[t] = mul(m.da[t], slope(m.a[t])); // B4
      show("B4", t, [`dz⟨${t}⟩`, m.dz[t]], [`da⟨${t}⟩`, m.da[t]], [`1 − a⟨${t}⟩²`, slope(m.a[t])]);
    },
    start: ["B9", (m, p) => [["da⟨0⟩", (m.da[0] = matmul(m.dz[1], p.W_aa.T))], ["dz⟨1⟩", m.dz[1]]]], // B9
    weights: "B5",
  },
  gru: {
    forward(t, m, p, show) {
      const z = add(matmul(m.x[t], p.W_ax), p.b_a); // GF1
      show("GF1", t, [`z⟨${t}⟩: r, u, n`, z], ["b_a", p.b_a]);
      const none = new Nd([1, p.b_n.shape[0]]), bias = new Nd(p.b_n.shape, p.b_n.values);
      const q = add(matmul(m.a[t - 1], p.W_aa), beside(none, none, add(none, bias))); // GF2
      show("GF2", t, [`q⟨${t}⟩: r, u, n`, q, "through"], [`a⟨${t - 1}⟩`, m.a[t - 1]]);
      const [r, u] = [0, 1].map((i) => sigma(add(part(z, i, 3), part(q, i, 3)))); // GF3
      show("GF3", t, [`r⟨${t}⟩`, r], [`u⟨${t}⟩`, u]);
      const q_n = part(q, 2, 3), n = tanh(add(part(z, 2, 3), mul(r, q_n))); // GF4
      show("GF4", t, [`n⟨${t}⟩`, n], [`r⟨${t}⟩`, r], [`q_n⟨${t}⟩`, q_n]);
      m.a[t] = add(mul(map(u, (x) => 1 - x), n), mul(u, m.a[t - 1])); // GF5
      show("GF5", t, [`a⟨${t}⟩`, m.a[t]], [`(1 − u) ∘ n`, mul(map(u, (x) => 1 - x), n)], [`u ∘ a⟨${t - 1}⟩`, mul(u, m.a[t - 1]), "through"]);
      m.gates[t] = { r, u, n, q_n };
    },
    backward(t, m, p, show) {
      const { r, u, n, q_n } = m.gates[t], onward = m.dz[t + 1];
      const through = onward && matmul(m.dq[t + 1], p.W_aa.T), kept = onward && mul(m.da[t + 1], m.gates[t + 1].u);
      m.da[t] = onward ? add(add(m.direct[t], through), kept) : m.direct[t]; // GB1
      show("GB1", t, [`da⟨${t}⟩`, m.da[t]], ["direct", m.direct[t], "direct"], ["from the next step, by W_aa", through, "through"], ["and by u", kept, "through"]);
      const dz_n = mul(mul(m.da[t], map(u, (x) => 1 - x)), slope(n)); // GB2
      show("GB2", t, [`dz_n⟨${t}⟩`, dz_n], [`da⟨${t}⟩`, m.da[t]], ["1 − u", map(u, (x) => 1 - x)], ["1 − n²", slope(n)]);
      const dq_n = mul(dz_n, r); // GB3
      show("GB3", t, [`dq_n⟨${t}⟩`, dq_n], [`dz_n⟨${t}⟩`, dz_n], [`r⟨${t}⟩`, r]);
      const dz_r = mul(mul(dz_n, q_n), bump(r)); // GB4
      show("GB4", t, [`dz_r⟨${t}⟩`, dz_r], [`dz_n⟨${t}⟩`, dz_n], [`q_n⟨${t}⟩`, q_n], ["r(1 − r)", bump(r)]);
      const dz_u = mul(mul(m.da[t], sub(m.a[t - 1], n)), bump(u)); // GB5
      show("GB5", t, [`dz_u⟨${t}⟩`, dz_u], [`da⟨${t}⟩`, m.da[t]], [`a⟨${t - 1}⟩ − n`, sub(m.a[t - 1], n)], ["u(1 − u)", bump(u)]);
      m.dz[t] = beside(dz_r, dz_u, dz_n);
      m.dq[t] = beside(dz_r, dz_u, dq_n);
    },
    start: ["GB8", (m, p) => {
      const [through, kept] = [matmul(m.dq[1], p.W_aa.T), mul(m.da[1], m.gates[1].u)];
      return [["da⟨0⟩", (m.da[0] = add(through, kept))], ["by W_aa", through, "through"], ["by u", kept, "through"]]; // GB8
    }],
    weights: "GB6",
  },
  lstm: {
    forward(t, m, p, show) {
      const [xW, aW] = [matmul(m.x[t], p.W_ax), matmul(m.a[t - 1], p.W_aa)], z = add(add(xW, aW), p.b_a); // LF1
      show("LF1", t, [`z⟨${t}⟩: i, f, g, o`, z], [`a⟨${t - 1}⟩ W_aa`, aW, "through"]);
      const [i, f, g, o] = [sigma, sigma, tanh, sigma].map((h, k) => h(part(z, k, 4))); // LF2
      show("LF2", t, [`i⟨${t}⟩`, i], [`f⟨${t}⟩`, f], [`g⟨${t}⟩`, g], [`o⟨${t}⟩`, o]);
      m.c[t] = add(mul(f, m.c[t - 1]), mul(i, g)); // LF3
      show("LF3", t, [`c⟨${t}⟩`, m.c[t]], [`f ∘ c⟨${t - 1}⟩`, mul(f, m.c[t - 1]), "through"], ["i ∘ g", mul(i, g)]);
      m.a[t] = mul(o, tanh(m.c[t])); // LF4
      show("LF4", t, [`a⟨${t}⟩`, m.a[t]], [`o⟨${t}⟩`, o], [`tanh c⟨${t}⟩`, tanh(m.c[t])]);
      m.gates[t] = { i, f, g, o };
    },
    backward(t, m, p, show) {
      const { i, f, g, o } = m.gates[t], s = tanh(m.c[t]);
      const through = m.dz[t + 1] && matmul(m.dz[t + 1], p.W_aa.T);
      m.da[t] = through ? add(m.direct[t], through) : m.direct[t]; // LB1
      show("LB1", t, [`da⟨${t}⟩`, m.da[t]], ["direct", m.direct[t], "direct"], ["from the next step", through, "through"]);
      const here = mul(mul(m.da[t], o), slope(s)), kept = m.dc[t + 1] && mul(m.dc[t + 1], m.gates[t + 1].f);
      m.dc[t] = kept ? add(here, kept) : here; // LB2
      show("LB2", t, [`dc⟨${t}⟩`, m.dc[t]], ["by a of this step", here, "direct"], ["from the next step, by f", kept, "through"]);
      const dz_i = mul(mul(m.dc[t], g), bump(i)), dz_f = mul(mul(m.dc[t], m.c[t - 1]), bump(f));
      const dz_g = mul(mul(m.dc[t], i), slope(g)); // LB3
      show("LB3", t, [`dz_i⟨${t}⟩`, dz_i], [`dz_f⟨${t}⟩`, dz_f], [`dz_g⟨${t}⟩`, dz_g]);
      const dz_o = mul(mul(m.da[t], s), bump(o)); // LB4
      show("LB4", t, [`dz_o⟨${t}⟩`, dz_o], [`da⟨${t}⟩`, m.da[t]], [`tanh c⟨${t}⟩`, s], ["o(1 − o)", bump(o)]);
      m.dz[t] = beside(dz_i, dz_f, dz_g, dz_o);
    },
    start: ["LB5", (m, p) => {
      m.dc[0] = mul(m.dc[1], m.gates[1].f);
      return [["da⟨0⟩", (m.da[0] = matmul(m.dz[1], p.W_aa.T))], ["dc⟨0⟩", m.dc[0]]]; // LB5
    }],
    weights: "B5",
  },
};

/* Run a window. ``w`` has the cell's parameters p, one-hot rows x and y (T, B, V) and the states before, of
   which W_aa is taken ``scale`` times. Returns its equations in order, the gradients, and the memory m.
   With ``lastOnly``, the loss is that of the last step alone. */
function run(w, scale = 1, lastOnly = false) {
  const cell = CELLS[w.cell], T = w.x.length, B = w.x[0].length, steps = [];
  const p = Object.fromEntries(Object.entries(w.p).map(([name, array]) => [name, nd(array)]));
  p.W_aa = map(p.W_aa, (x) => x * scale);
  const show = (tag, t, ...terms) => steps.push({ tag, t, terms: terms.filter(([, array]) => array) });
  const rows = (all) => [null, ...all.map(nd)], y = rows(w.y);
  const m = { x: rows(w.x), a: [nd(w.before[0])], c: w.before[1] ? [nd(w.before[1])] : [] };
  for (const name of ["z", "gates", "da", "dc", "dz", "dq", "direct", "y_hat", "dlogits"]) m[name] = [];
  let loss = 0;
  for (let t = 1; t <= T; t++) {
    cell.forward(t, m, p, show);
    const e = map(add(matmul(m.a[t], p.W_ya), p.b_y), Math.exp);
    m.y_hat[t] = broadcast(e, sum(e, 1, true), (x, s) => x / s); // F3
    show("F3", t, [`ŷ⟨${t}⟩`, m.y_hat[t]], [`a⟨${t}⟩`, m.a[t]]);
    const nats = map(sum(mul(y[t], m.y_hat[t]), 1), (x) => -Math.log(x));
    loss += sum(nats).values[0] / (T * B);
    show("F4", t, ["nats of each row", nats], [`ŷ⟨${t}⟩`, m.y_hat[t]], [`y⟨${t}⟩`, y[t]]); // F4
  }
  for (let t = T; t >= 1; t--) {
    const share = lastOnly ? Number(t === T) : 1;
    m.dlogits[t] = map(sub(m.y_hat[t], y[t]), (x) => (share * x) / (T * B)); // B1
    m.direct[t] = matmul(m.dlogits[t], p.W_ya.T);
    show("B1", t, [`dlogits⟨${t}⟩`, m.dlogits[t]], [`ŷ⟨${t}⟩`, m.y_hat[t]], [`y⟨${t}⟩`, y[t]]);
  }
  const over = (f) => Array.from({ length: T }, (_, i) => f(i + 1)), total = (parts) => parts.reduce(add);
  const summed = (name, f) => { const parts = over(f); return [[name, total(parts)], ...parts.map((d, i) => [`t = ${i + 1}`, d])]; };
  const g = {};
  const give = (tag, name, f) => {
    const terms = summed(`d${name}`, f);
    g[name] = terms[0][1];
    show(tag, 0, ...terms);
  };
  give("B2", "W_ya", (t) => matmul(m.a[t].T, m.dlogits[t])); // B2
  g.b_y = total(over((t) => sum(m.dlogits[t], 0)));
  const recurrent = w.cell === "gru" ? m.dq : m.dz, parts = [];
  for (let t = T; t >= 1; t--) {
    cell.backward(t, m, p, show);
    parts.unshift([`t = ${t}`, matmul(m.a[t - 1].T, recurrent[t]), t < T ? "" : "through"]); // B5, GB6
    g.W_aa = total(parts.map(([, d]) => d));
    show(cell.weights, t, [t > 1 ? "dW_aa so far" : "dW_aa", g.W_aa], ...parts.map(([name, d], i) => [name, d, i ? "" : "direct"]));
  }
  give("B6", "W_ax", (t) => matmul(m.x[t].T, m.dz[t])); // B6
  give("B7", "b_a", (t) => sum(m.dz[t], 0)); // B7
  if (w.cell === "gru") give("GB7", "b_n", (t) => sum(part(m.dq[t], 2, 3), 0)); // GB7
  for (let t = T; t >= 1; t--) show("B8", t, [`dx⟨${t}⟩`, matmul(m.dz[t], p.W_ax.T)], [`dz⟨${t}⟩`, m.dz[t]]); // B8
  const [tag, terms] = cell.start;
  show(tag, 0, ...terms(m, p));
  return { steps, g, loss, m };
}

const norm = (a) => Math.sqrt(a.values.reduce((s, x) => s + x * x, 0));

// -- a reader's lines, read as NumPy would -------------------------------------------------------------

const FUNCTIONS = { exp: (a) => map(a, Math.exp), log: (a) => map(a, Math.log), tanh, sqrt: (a) => map(a, Math.sqrt), sum };
const scalar = (a) => (a instanceof Nd && a.shape.length === 0 ? a.values[0] : a);

/* Run lines of assignments, the last one the answer. Returns: a list of arrays. Throws what is wrong. */
function evaluate(source, names) {
  const known = { ...names };
  const lines = source.split("\n").map((line) => line.replace(/#.*/, "").trim()).filter(Boolean);
  if (!lines.length) throw new Error("nothing is written yet");
  let answer = null;
  lines.forEach((line, number) => {
    const words = [...line.matchAll(/\s*(\d+\.?\d*(?:e[-+]?\d+)?|\.\d+|[A-Za-z_]\w*|\*\*|\S)/gy)].map((found) => found[1]);
    let at = 0;
    const next = () => words[at], take = (word) => (words[at] === word ? (at++, true) : false);
    const need = (word) => { if (!take(word)) throw new Error(`line ${number + 1}: ${word} expected ${next() ? `before ${next()}` : "at the end"}`); };
    const arrays = (a) => (a instanceof Nd ? a : nd(a));
    const binary = (f) => (a, b) => broadcast(arrays(a), arrays(b), f);
    const level = (lower, operators) => () => {
      let left = lower();
      for (let word = next(); word in operators; word = next()) { at++; left = operators[word](left, lower()); }
      return left;
    };
    const unary = () => (take("-") ? map(arrays(unary()), (x) => -x) : take("+") ? unary() : power());
    const power = () => { const base = postfix(); return take("**") ? binary(Math.pow)(base, unary()) : base; };
    const term = level(unary, {
      "*": binary((x, y) => x * y), "/": binary((x, y) => x / y), "@": (a, b) => matmul(arrays(a), arrays(b)),
    });
    const expression = level(term, { "+": binary((x, y) => x + y), "-": binary((x, y) => x - y) });
    const call = (f, first) => {
      const given = first ? [first] : [], by = {};
      while (!take(")")) {
        if (words[at + 1] === "=") { const name = next(); at += 2; by[name] = next() === "True" ? (at++, true) : tuple(); } else given.push(expression());
        if (next() !== ")") need(",");
      }
      const axis = by.axis ?? given[1], plain = (a) => (Array.isArray(a) ? a.map(plain) : Number(scalar(a)));
      return f === sum ? sum(arrays(given[0]), axis === undefined ? undefined : plain(axis), by.keepdims === true) : f(arrays(given[0]));
    };
    const bound = () => (next() === ":" || next() === "]" || next() === "," ? undefined : Number(scalar(expression())));
    const index = () => {
      const items = [];
      while (!take("]")) {
        const from = bound();
        items.push(take(":") ? [from, bound()] : from);
        if (next() !== "]") need(",");
      }
      return items;
    };
    const postfix = () => {
      let a = atom();
      for (;;) {
        if (take("[")) a = slice(arrays(a), index());
        else if (take(".")) {
          const name = words[at++];
          if (name === "T") a = arrays(a).T;
          else if (name === "shape") a = nd(arrays(a).shape);
          else if (name === "sum") { need("("); a = call(sum, a); }
          else if (name === "swapaxes") {
            need("(");
            const i = Number(scalar(expression())); need(","); const j = Number(scalar(expression())); need(")");
            const axes = a.shape.map((_, k) => k), n = axes.length, [k, l] = [(i + n) % n, (j + n) % n];
            [axes[k], axes[l]] = [axes[l], axes[k]];
            a = transpose(a, axes);
          } else throw new Error(`line ${number + 1}: .${name} is not known here`);
        } else return a;
      }
    };
    const atom = () => {
      const word = words[at++];
      if (word === undefined) throw new Error(`line ${number + 1} ends too early`);
      if (word === "(") { const inner = tuple(true); need(")"); return inner; }
      if (/^[\d.]/.test(word)) return nd(Number(word));
      if (word === "np") { need("."); return atom(); }
      if (Object.hasOwn(FUNCTIONS, word) && take("(")) return call(FUNCTIONS[word]);
      if (Object.hasOwn(known, word)) return known[word];
      throw new Error(`line ${number + 1}: ${word} is not known here`);
    };
    const tuple = () => {
      const parts = [expression()];
      const inside = next() === ",";
      while (words[at - 1] !== "=" && inside && canFollow() && take(",")) parts.push(expression());
      return parts.length > 1 ? parts : parts[0];
    };
    const canFollow = () => words[at + 1] !== undefined && words[at + 2] !== "=" && words[at + 1] !== ")";
    take("return");
    let name = null;
    if (words[at + 1] === "=" && /^[A-Za-z_]/.test(next())) { name = next(); at += 2; }
    const value = tuple();
    if (at < words.length) throw new Error(`line ${number + 1}: ${next()} is not understood here`);
    if (name) known[name] = value;
    answer = value;
  });
  return [answer].flat().map((a) => (a instanceof Nd ? a : nd(a)));
}

/* Mark an answer on every draw. Returns: "right", or what is wrong. */
function mark(exercise, source) {
  for (const draw of exercise.draws) {
    let found;
    try {
      found = evaluate(source, Object.fromEntries(Object.entries(draw.arguments).map(([name, a]) => [name, nd(a)])));
    } catch (error) {
      return error.message;
    }
    const exact = draw.exact.map(nd);
    if (found.length !== exact.length) return `${found.length} given, ${exact.length} expected: ${exercise.returns}`;
    for (const [i, a] of found.entries()) {
      const which = exact.length > 1 ? `of array ${i + 1}, ` : "", b = exact[i];
      if (shown(a.shape) !== shown(b.shape)) return `${which}the shape is ${shown(a.shape)}, expected ${shown(b.shape)}`;
      const largest = b.values.reduce((s, x) => Math.max(s, Math.abs(x)), 0);
      const wrong = a.values.findIndex((x, k) => !(Math.abs(x - b.values[k]) <= 1e-9 * largest));
      if (wrong >= 0) {
        const place = strides(b.shape).map((step, axis) => Math.floor(wrong / step) % b.shape[axis]);
        return `${which}the first wrong element is at ${shown(place)}: ${a.values[wrong].toPrecision(9)}, should be ${b.values[wrong].toPrecision(9)}`;
      }
    }
  }
  return "right";
}

// -- drawing -------------------------------------------------------------------------------------------

const $ = (id) => document.getElementById(id);

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value !== undefined) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const power10 = (e) => "10" + String(e).replace(/[-\d]/g, (c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[c]));

const short = (x) => (x === 0 ? "·" : Math.abs(x) >= 1000 || Math.abs(x) < 0.005 ? x.toExponential(0) : x.toFixed(2)).replace(/-/g, "−");

/* Colour an entry by its sign and its size beside the largest one. The style sheet may not be written to by
   attributes here, so the script sets the property. */
function tint(cell, x, largest) {
  cell.classList.add("cell", x < 0 ? "low" : "high");
  cell.style.setProperty("--v", largest ? Math.min(1, Math.abs(x) / largest).toFixed(3) : 0);
  return cell;
}

/* An array of one or two axes as shaded numbers. */
function matrix(a, name, kind = "", largest = Math.max(...a.values.map(Math.abs))) {
  const columns = a.shape.at(-1) ?? 1, rows = a.values.length / columns;
  const box = element("div", { class: `matrix ${kind}`, role: "img", "aria-label": `${name}, ${rows} by ${columns}: ${[...a.values].map((x) => x.toFixed(3)).join(", ")}` });
  box.style.setProperty("--columns", columns);
  box.append(...[...a.values].map((x) => tint(element("span", {}, short(x)), x, largest)));
  return element("figure", { class: "named" }, element("figcaption", {}, name), box);
}

// -- the state of the page, kept in its address --------------------------------------------------------

const state = { rule: "columns", stage: "0", entry: "0,0", H: "9", cell: "rnn", step: "0", scale: "1" };

function remember(change) {
  Object.assign(state, change);
  history.replaceState(null, "", "#" + new URLSearchParams(state));
}

function recall() {
  for (const [key, value] of new URLSearchParams(location.hash.slice(1))) if (Object.hasOwn(state, key)) state[key] = value;
  if (!Object.hasOwn(lesson.rules, state.rule)) state.rule = "columns";
  if (!Object.hasOwn(lesson.windows, state.cell)) state.cell = "rnn";
  const [k, l] = state.entry.split(",").map(Number), { dW } = lesson.rules[state.rule];
  if (dW[k]?.[l] === undefined) state.entry = "0,0";
  for (const [key, most] of [["stage", 3], ["H", 12], ["step", 1e6], ["scale", 3]]) {
    const value = key === "scale" ? Number(state[key]) : Math.round(Number(state[key]));
    state[key] = String(Number.isFinite(value) ? Math.min(most, Math.max(0, value)) : key === "scale" ? 1 : 0);
  }
}

// -- rule 3 --------------------------------------------------------------------------------------------

const STAGES = {
  columns: [
    "The tensor: for each output Z_ij a block with its derivative by every W_kl. Only row i of block (i, j) is not zero.",
    "Each block times its G_ij: the part that this output has in dW.",
    "Summed over i. The blocks had different rows, so nothing is added but zeros: column j of G beside column j of A.",
    "Summed over j: Σ_j G_kj A_lj, and that is the product G Aᵀ. The tensor is gone.",
  ],
  rows: [
    "The tensor: for each output Z_ij a block with its derivative by every W_kl. Only column j of block (i, j) is not zero.",
    "Each block times its G_ij: the part that this output has in dW.",
    "Summed over j. The blocks had different columns, so nothing is added but zeros: row i of A beside row i of G.",
    "Summed over i: Σ_i A_ik G_il, and that is the product Aᵀ G. The tensor is gone.",
  ],
};

/* The blocks that a stage shows, a list of rows of [name, array]. */
function blocks(rule, stage) {
  const J = nd(rule.J), G = nd(rule.G), [m, n] = G.shape, columns = state.rule === "columns";
  const grid = Array.from({ length: m }, (_, i) => Array.from({ length: n }, (_, j) => {
    const block = slice(J, [i, j]), g = slice(G, [i, j]);
    return stage ? [`G_${i + 1}${j + 1} ∂Z_${i + 1}${j + 1}/∂W`, mul(block, g)] : [`∂Z_${i + 1}${j + 1}/∂W`, block];
  }));
  if (stage < 2) return grid;
  const summed = columns
    ? [grid[0].map((_, j) => [`j = ${j + 1}`, grid.map((row) => row[j][1]).reduce(add)])]
    : grid.map((row, i) => [[`i = ${i + 1}`, row.map(([, block]) => block).reduce(add)]]);
  return stage === 2 ? summed : [[[columns ? "G Aᵀ" : "Aᵀ G", summed.flat().map(([, block]) => block).reduce(add)]]];
}

function drawRule() {
  const rule = lesson.rules[state.rule], stage = Number(state.stage), [k, l] = state.entry.split(",").map(Number);
  const dW = nd(rule.dW), G = nd(rule.G);
  $("rule-says").textContent = rule.equation;
  $("stage-says").textContent = STAGES[state.rule][stage];
  $("stage").value = stage;
  for (const input of document.querySelectorAll("[name=rule]")) input.checked = input.value === state.rule;
  const grid = blocks(rule, stage), box = element("div", { class: "blocks" });
  const largest = Math.max(...grid.flat().flatMap(([, block]) => [...block.values].map(Math.abs)));
  for (const row of grid) {
    const line = element("div", { class: "terms" });
    for (const [name, block] of row) {
      const figure = matrix(block, name, "", largest), at = k * dW.shape[1] + l;
      figure.querySelectorAll(".cell")[at]?.classList.add(block.values[at] ? "lit" : "dim");
      line.append(figure);
    }
    box.append(line);
  }
  $("tensor").replaceChildren(box);
  const g = matrix(G, "G = ∂L/∂Z");
  [...g.querySelectorAll(".cell")].forEach((cell, i) => {
    const uses = state.rule === "columns" ? Math.floor(i / G.shape[1]) === k : i % G.shape[1] === l;
    if (uses) cell.classList.add("lit");
  });
  const A = matrix(nd(rule.A), "A");
  [...A.querySelectorAll(".cell")].forEach((cell, i) => {
    const width = rule.A[0].length;
    if (state.rule === "columns" ? Math.floor(i / width) === l : i % width === k) cell.classList.add("lit");
  });
  $("operands").replaceChildren(g, A, matrix(nd(rule.W), "W"));
  const top = Math.max(...dW.values.map(Math.abs)), answer = $("dW");
  answer.style.setProperty("--columns", dW.shape[1]);
  if (answer.children.length !== dW.values.length || answer.dataset.rule !== state.rule) {
    answer.dataset.rule = state.rule;
    answer.replaceChildren(...[...dW.values].map((x, i) => {
      const entry = [Math.floor(i / dW.shape[1]), i % dW.shape[1]];
      const button = tint(element("button", { type: "button", "aria-label": `dW, row ${entry[0] + 1}, column ${entry[1] + 1}: ${x.toFixed(3)}` }, short(x)), x, top);
      for (const event of ["click", "focus", "pointerenter"])
        button.addEventListener(event, () => { remember({ entry: entry.join() }); drawRule(); });
      return button;
    }));
  }
  [...answer.children].forEach((button, i) => button.setAttribute("aria-pressed", i === k * dW.shape[1] + l));
  const others = state.rule === "columns"
    ? [...Array(G.shape[1]).keys()].map((j) => `G_${k + 1}${j + 1} A_${l + 1}${j + 1}`)
    : [...Array(G.shape[0]).keys()].map((i) => `A_${i + 1}${k + 1} G_${i + 1}${l + 1}`);
  $("entry-says").textContent = `dW_${k + 1}${l + 1} = ${others.join(" + ")} = ${dW.values[k * dW.shape[1] + l].toFixed(4)}`.replace("-", "−");
}

function drawSizes() {
  const H = 2 ** Number(state.H), B = 64, tensor = 4 * B * H * H * H, gradient = 4 * H * H;
  const bytes = (n) => { const i = Math.min(5, Math.floor(Math.log10(n) / 3)); return `${(n / 1000 ** i).toPrecision(3)} ${["bytes", "KB", "MB", "GB", "TB", "PB"][i]}`; };
  $("sizes").value = state.H;
  $("sizes-says").textContent = `H = ${H}, B = ${B}, float32: the tensor of a⟨t−1⟩ W_aa by W_aa is ${B} × ${H} × ${H} × ${H} numbers, ${bytes(tensor)}; of them ${B} × ${H} × ${H} are not zero. What the trick writes, dW_aa, is ${H} × ${H}, ${bytes(gradient)}.`;
}

// -- the window ----------------------------------------------------------------------------------------

let shownRun = null;
const SUMS = /^(F1|GF5|LF1|LF3|B[23567]|GB[1678]|LB[12])$/; // their terms are shaded on one scale

function drawWindow({ anew = true } = {}) {
  const w = lesson.windows[state.cell], T = w.x.length;
  if (anew || !shownRun) shownRun = run(w, Number(state.scale));
  const { steps } = shownRun, at = Math.min(Number(state.step), steps.length - 1), { tag, t, terms } = steps[at];
  const back = /B/.test(tag);
  for (const input of document.querySelectorAll("[name=cell]")) input.checked = input.value === state.cell;
  $("place").max = steps.length - 1;
  $("place").value = at;
  $("place-says").textContent = `${at + 1} of ${steps.length}, ${back ? "back" : "forward"}${t ? `, t = ${t}` : ""}`;
  $("equation").textContent = `${tag}   ${lesson.equations[tag]}`;
  $("code").textContent = lesson.code[state.cell][tag] ?? "";
  const largest = SUMS.test(tag) ? Math.max(...terms.flatMap(([, array]) => [...array.values].map(Math.abs))) : undefined;
  $("terms").replaceChildren(...terms.map(([name, array, kind]) => matrix(array, name, kind, largest)));
  $("legend").hidden = !terms.some(([, , kind]) => kind === "through") || !terms.some(([, , kind]) => kind === "direct");
  const unrolled = $("unrolled"), top = /^(F3|F4|B1|B2)$/.test(tag), input = /^(B6|B8)$/.test(tag), start = /^(B9|GB8|LB5)$/.test(tag), cells = [];
  const lit = (here) => (here ? (back ? " back" : " on") : "");
  const row = (name, first, node, isLit, arrow) => {
    cells.push(element("span", { class: "name" }, name), element("span", { class: first ? `node${lit(isLit && start)}` : "" }, first));
    for (let s = 1; s <= T; s++) {
      const here = isLit && (s === t || (t === 0 && !start));
      const passes = arrow && isLit && (start ? s === 1 : back ? s === t + 1 : s === t);
      cells.push(element("span", { class: `arrow${lit(passes)}` }, arrow ? (back ? "←" : "→") : ""));
      cells.push(element("span", { class: `node${lit(here)}` }, `${node}⟨${s}⟩`));
    }
  };
  row("out", "", "ŷ", top, false);
  row("a", "a⟨0⟩", "a", !top && !input && !/^(LF3|LB2)$/.test(tag), true);
  if (state.cell === "lstm") row("c", "c⟨0⟩", "c", /^(LF[34]|LB[235])$/.test(tag), true);
  row("in", "", "x", input || (!back && /1$/.test(tag)), false);
  unrolled.style.setProperty("--steps", T);
  unrolled.setAttribute("aria-label", `The network unrolled over ${T} steps; ${tag}${t ? ` at step ${t}` : ", all steps"}`);
  unrolled.replaceChildren(...cells);
  $("loss-says").textContent = `Loss ${shownRun.loss.toFixed(4)} nats.`;
}

function drawFlow() {
  const w = lesson.flows[state.cell], T = w.x.length, { m } = run(w, Number(state.scale), true);
  const lines = [["a", m.da], ...(state.cell === "lstm" ? [["c", m.dc]] : [])];
  const [width, height, left, bottom] = [560, 230, 48, 26], [low, high] = [-13, 7];
  const x = (t) => left + ((T - t) / (T - 1)) * (width - left - 10), y = (v) => 10 + ((high - Math.max(low, Math.min(high, Math.log10(v || 1e-300)))) / (high - low)) * (height - bottom - 10);
  const svg = (name, attributes, ...inside) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...inside);
    return made;
  };
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  for (let e = -12; e <= 6; e += 6) {
    picture.append(svg("line", { class: "tick", x1: left, x2: width - 10, y1: y(10 ** e), y2: y(10 ** e) }));
    picture.append(svg("text", { x: left - 6, y: y(10 ** e) + 4, "text-anchor": "end" }, e === 0 ? "1" : power10(e)));
  }
  const says = [];
  lines.forEach(([name, d], i) => {
    const lengths = d.slice(1, T + 1).map((g) => norm(g) / norm(d[T]));
    picture.append(svg("polyline", { class: i ? "curve second" : "curve", points: lengths.map((v, k) => `${x(k + 1)},${y(v)}`).join(" ") }));
    says.push(`‖∂L/∂${name}‖ (${i ? "dashed" : "solid"}) is ${lengths[0].toExponential(1).replace(/e\+?(.*)/, (_, e) => ` · ${power10(e)}`)} of what it was`);
  });
  picture.append(svg("text", { x: x(T), y: height - 6 }, "the last step"), svg("text", { x: x(1), y: height - 6, "text-anchor": "end" }, `${T - 1} steps earlier`));
  picture.setAttribute("aria-label", `Length of the gradient, step by step back. ${says.join("; ")}`);
  $("flow").replaceChildren(picture);
  $("flow-says").textContent = `W_aa is ${Number(state.scale).toFixed(2)} times an orthogonal matrix. After ${T - 1} steps back, ${says.join("; ")}.`;
  $("scale").value = state.scale;
  $("scale-says").textContent = `× ${Number(state.scale).toFixed(2)}`;
}

// -- controls ------------------------------------------------------------------------------------------

let playing = null;

function stopPlaying() {
  clearInterval(playing);
  playing = null;
  $("play").textContent = "Play";
}

function go(step) {
  remember({ step: String(Math.min(shownRun.steps.length - 1, Math.max(0, step))) });
  drawWindow({ anew: false });
}

function begin() {
  const on = (id, event, f) => $(id).addEventListener(event, f);
  for (const input of document.querySelectorAll("[name=rule]"))
    input.addEventListener("change", () => { remember({ rule: input.value, entry: "0,0" }); drawRule(); });
  on("stage", "input", () => { remember({ stage: $("stage").value }); drawRule(); });
  on("sizes", "input", () => { remember({ H: $("sizes").value }); drawSizes(); });
  for (const input of document.querySelectorAll("[name=cell]"))
    input.addEventListener("change", () => { stopPlaying(); remember({ cell: input.value, step: "0" }); drawWindow(); drawFlow(); });
  on("place", "input", () => { stopPlaying(); go(Number($("place").value)); });
  on("before", "click", () => { stopPlaying(); go(Number(state.step) - 1); });
  on("next", "click", () => { stopPlaying(); go(Number(state.step) + 1); });
  on("backward", "click", () => { stopPlaying(); go(shownRun.steps.findIndex(({ tag }) => /B/.test(tag))); });
  on("play", "click", () => {
    if (playing) return stopPlaying();
    if (Number(state.step) >= shownRun.steps.length - 1) go(0);
    $("play").textContent = "Pause";
    playing = setInterval(() => (Number(state.step) < shownRun.steps.length - 1 ? go(Number(state.step) + 1) : stopPlaying()), 900);
  });
  on("unrolled", "keydown", (event) => {
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!move) return;
    event.preventDefault();
    stopPlaying();
    go(Number(state.step) + move);
  });
  on("scale", "input", () => { remember({ scale: $("scale").value }); drawWindow(); drawFlow(); });
  for (const form of document.querySelectorAll("[data-exercise]")) {
    const exercise = lesson.exercises[form.dataset.exercise], [field, button, says] = ["textarea", "button", "output"].map((name) => form.querySelector(name));
    field.setAttribute("aria-label", `Your answer: ${form.dataset.exercise}`);
    form.querySelector("code").textContent = exercise.signature;
    form.querySelector(".note").textContent = `Expected: ${exercise.returns}`;
    button.addEventListener("click", () => {
      says.textContent = mark(exercise, field.value);
      says.classList.toggle("right", says.textContent === "right");
    });
  }
  addEventListener("hashchange", () => { recall(); draw(); });
  recall();
  draw();
}

function draw() {
  drawRule();
  drawSizes();
  drawWindow();
  drawFlow();
}

const lesson = JSON.parse($("data").textContent);
begin();
