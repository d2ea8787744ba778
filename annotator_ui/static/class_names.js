// Class names that somebody typed, wherever that is: one a line, or with commas between them.

/** In order, without repeats. @param {string} text */
export const classNames = (text) => [...new Set(text.split(/[\n,]/).map((name) => name.trim()).filter(Boolean))];
