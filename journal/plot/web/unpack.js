// Decode the data of the page: gzip in base64, arrays in byte planes (journal/plot/packing.py writes them).
const TYPES = { u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, i1: Int8Array, i4: Int32Array, f4: Float32Array, f8: Float64Array };
const UNKNOWN_LEVEL = 65535, LEVELS = 4095, SPREAD = 16;

async function inflate(bytes) {
  const stream = new DecompressionStream("gzip"), writer = stream.writable.getWriter(), reader = stream.readable.getReader();
  const written = writer.write(bytes).then(() => writer.close());
  const parts = [];
  let length = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    parts.push(part.value);
    length += part.value.length;
  }
  await written;
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) { whole.set(part, at); at += part.length; }
  return whole;
}

function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);  // browsers of 2025
  const raw = atob(text), bytes = new Uint8Array(raw.length);
  for (let index = 0; index < raw.length; index++) bytes[index] = raw.charCodeAt(index);
  return bytes;
}

async function unpack(id) {
  return decoded(await inflate(fromBase64($(id + "-data").textContent.trim())));
}

function decoded(bytes) {
  const length = new DataView(bytes.buffer).getUint32(0, true);
  const facts = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  let at = 4 + length;
  const arrays = {};
  for (const [name, kind, count, coding] of facts.arrays) {
    const from = at;
    // An array is decoded when it is first read: the table needs only the values of the curves.
    Object.defineProperty(arrays, name, { configurable: true, enumerable: true, get() {
      const value = arrayAt(bytes, from, kind, count, coding === "delta");
      Object.defineProperty(arrays, name, { value });
      return value;
    } });
    at += count * TYPES[kind].BYTES_PER_ELEMENT;
  }
  return { ...facts, arrays };
}

function arrayAt(bytes, at, kind, count, delta) {
  const Type = TYPES[kind];
  const whole = kind === "u2" ? halves(bytes, at, count, delta) : Type.BYTES_PER_ELEMENT === 4 && (kind !== "f4" || !delta) ? words(bytes, at, count, delta) : null;
  return whole ? new Type(whole.buffer) : values(Type, bytes, at, count, delta);
}

// A loop for each width is several times as fast as one loop for all types.
function halves(bytes, at, count, delta) {
  const out = new Uint16Array(count);
  for (let index = 0, last = 0; index < count; index++) {
    const value = bytes[at + index] | bytes[at + count + index] << 8;
    out[index] = last = delta ? last + value & 65535 : value;
  }
  return out;
}

function words(bytes, at, count, delta) {
  const out = new Uint32Array(count);
  for (let index = 0, last = 0; index < count; index++) {
    const value = bytes[at + index] | bytes[at + count + index] << 8 | bytes[at + 2 * count + index] << 16 | bytes[at + 3 * count + index] << 24;
    out[index] = last = delta ? last + value | 0 : value;
  }
  return out;
}

function values(Type, bytes, at, count, delta) {
  const width = Type.BYTES_PER_ELEMENT, whole = new Uint8Array(count * width), out = new Type(whole.buffer);
  for (let plane = 0; plane < width; plane++)
    for (let index = 0, from = at + plane * count; index < count; index++) whole[index * width + plane] = bytes[from + index];
  if (delta) for (let index = 1; index < count; index++) out[index] += out[index - 1];
  return out;
}

function starts(counts) {
  const at = new Uint32Array(counts.length + 1);
  for (let index = 0; index < counts.length; index++) at[index + 1] = at[index] + counts[index];
  return at;
}

class Curves {
  constructor({ arrays, holes, short }) {
    this.a = arrays;
    this.holes = holes;
    this.short = short;
    const own = arrays.points.map((count, index) => (arrays.tape[index] ? 0 : count));
    const ownTrades = arrays.trade_count.map((count, index) => (arrays.tape[index] ? 0 : count));
    this.at = { points: starts(arrays.points), own: starts(own), trades: starts(arrays.trade_count), ownTrades: starts(ownTrades), tape: starts(arrays.tape_bars) };
  }

  slice(name, index, first, last) {
    const raw = this.a[name].subarray(first, last), out = new Float64Array(raw.length);
    if (raw instanceof Uint16Array) {
      const low = this.a[name + "_low"][index], gap = (this.a[name + "_high"][index] - low) / LEVELS;
      for (let i = 0; i < raw.length; i++) {
        const value = low + gap * raw[i] / SPREAD;
        out[i] = raw[i] === UNKNOWN_LEVEL ? NaN : Math.abs(value) < gap / 2 ? 0 : value;  // a flat position is 0
      }
    } else out.set(raw);
    return out;
  }

  // Values alone, for a sparkline.
  values(index) {
    return this.slice("value", index, this.at.points[index], this.at.points[index + 1]);
  }

  episode(index) {
    const a = this.a, first = this.at.points[index], last = this.at.points[index + 1];
    const one = {
      step: a.step.subarray(first, last), value: this.values(index), position: this.slice("position", index, first, last),
      reward: this.short ? null : a.reward.subarray(first, last), initial: a.initial_value[index], firstPrice: a.first_price[index],
      steps: a.steps[index], short: this.short, tradeTotal: a.trade_total[index], holes: this.holes[index] || [],
    };
    if (a.tape[index]) this.placeOnTape(one, index); else this.placeAlone(one, index);
    one.trades = this.trades(index, one);
    return one;
  }

  placeOnTape(one, index) {
    const from = this.at.tape[a_tape(this, index)] + this.a.tape_start[index];
    one.timeOf = step => this.a.tape_time[from + step - 1] / 1000;
    one.priceOf = step => this.a.tape_price[from + step - 1];
    one.priceStep = Uint32Array.from({ length: one.steps }, (_, at) => at + 1);
    one.price = this.a.tape_price.subarray(from, from + one.steps);
    one.timed = true;
  }

  placeAlone(one, index) {
    const first = this.at.own[index], last = this.at.own[index + 1];
    const time = this.a.time.subarray(first, last);
    one.timed = Boolean(this.a.timed[index]);
    one.price = this.slice("price", index, first, last);
    one.priceStep = one.step;
    one.timeOf = step => between(one.step, time, step) / 1000;
    one.priceOf = step => between(one.step, one.price, step);
  }

  trades(index, one) {
    const a = this.a, first = this.at.trades[index], last = this.at.trades[index + 1], own = this.at.ownTrades[index];
    const found = [];
    for (let at = first; at < last; at++) {
      const full = name => (this.short ? NaN : a["trade_" + name][at]);
      const trade = { direction: a.trade_direction[at], entryStep: a.trade_entry[at], exitStep: a.trade_exit[at], pnl: a.trade_pnl[at],
        quantity: full("quantity"), entryPrice: full("entry_price"), exitPrice: full("exit_price"), costs: full("costs") };
      const tape = a.tape[index];
      const known = trade.entryStep >= 1;
      trade.entryTime = tape ? (known ? one.timeOf(trade.entryStep) : NaN) : a.trade_entry_time[own + at - first] / 1000;
      trade.exitTime = tape ? one.timeOf(trade.exitStep) : a.trade_exit_time[own + at - first] / 1000;
      found.push(trade);
    }
    return found;
  }
}

const a_tape = (curves, index) => curves.a.tape[index] - 1;

// The value at a step: that of the step, or on the line between its neighbours.
function between(steps, values, step) {
  let low = 0, high = steps.length - 1;
  while (low < high) { const mid = (low + high) >> 1; if (steps[mid] < step) low = mid + 1; else high = mid; }
  if (steps[low] === step || low === 0) return steps.length ? values[low] : NaN;
  const part = (step - steps[low - 1]) / (steps[low] - steps[low - 1]);
  return values[low - 1] + (values[low] - values[low - 1]) * part;
}
