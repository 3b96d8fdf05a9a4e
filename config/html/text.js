// Formats numbers and times for people. Times are local; their tooltips have UTC.

const thisDay = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' });
const otherDay = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' });
const numbers = new Intl.NumberFormat();

export const number = (value) => numbers.format(value);

export const count = (value, one, many = one + 's') => `${number(value)} ${value === 1 ? one : many}`;

export const percent = (share) => `${Math.round(share * 100)} %`;

/** Milliseconds in the two largest units. */
export function duration(ms) {
    const seconds = Math.max(0, Math.round(ms / 1000));
    const units = [['d', 86400], ['h', 3600], ['min', 60], ['s', 1]];
    const first = Math.max(0, units.findIndex(([, size]) => seconds >= size));
    const [name, size] = units[seconds ? first : 3];
    const whole = `${Math.floor(seconds / size)} ${name}`;
    const [nextName, nextSize] = units[first + 1] ?? [];
    const rest = seconds && nextSize ? Math.floor(seconds % size / nextSize) : 0;
    return rest ? `${whole} ${rest} ${nextName}` : whole;
}

/** Milliseconds since the epoch; NaN if it is not a time. A time without a zone is UTC. */
export function parseTime(text) {
    if (typeof text !== 'string')
        return NaN;
    const zoned = /(?:[zZ]|[+-]\d\d:?\d\d)$/.test(text);
    return Date.parse(text.replace(' ', 'T') + (zoned ? '' : 'Z'));
}

export const local = (ms) => new Date(ms).toDateString() === new Date().toDateString()
    ? thisDay.format(ms) : otherDay.format(ms);

export const utc = (ms) => new Date(ms).toISOString().replace('T', ' ').replace(/\.\d+Z$/, ' UTC');

/** An element; children are texts and elements, and properties are those of the DOM. */
export function make(name, properties = {}, ...children) {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
}

export const time = (ms) => Number.isNaN(ms) ? make('span', {}, '–')
    : make('time', { dateTime: new Date(ms).toISOString(), title: utc(ms) }, local(ms));

/** Pairs of name and value for a <dl>, without those that have no value. */
export function facts(pairs) {
    return pairs.filter(([, value]) => value !== null && value !== '')
        .map(([name, value]) => make('div', {}, make('dt', {}, name), make('dd', {}, value)));
}
