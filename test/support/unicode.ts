import fc from "fast-check";

const surrogates = { from: 0xd800, count: 0x800 };

/**
 * Any character of Unicode, for texts that hold whatever may come. fast-check's own `"binary"` gives the same ones, but
 * lists all 1.1 million first.
 */
export const anyCharacter = fc.nat({ max: 0x10ffff - surrogates.count }).map(
  (at) => String.fromCodePoint(at < surrogates.from ? at : at + surrogates.count),
  (text) => {
    const code = typeof text === "string" ? (text.codePointAt(0) ?? Number.NaN) : Number.NaN;
    if (!(code >= 0) || text !== String.fromCodePoint(code)) throw new TypeError("it is not one character");
    return code < surrogates.from ? code : code - surrogates.count;
  },
);
