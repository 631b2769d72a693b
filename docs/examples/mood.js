// One number in [-1, 1] for `scores`, from probabilities of classes that a model of faces, voices or texts gives.
// No such table is standard: this one is a start. A wrong one does no harm, as qoemon weighs scores by the ratings of
// users who gave both. Only the number is reported: no picture, sound or text leaves the client.
export const TABLE = {
  happy: 1, surprised: 0.2, neutral: 0, sad: -0.6, fearful: -0.7, disgusted: -0.9, angry: -1,
};
//   probabilities   such as {happy: 0.7, neutral: 0.3}; other classes are left out, and need not add up to 1
// Returns undefined if no class is known: JSON leaves it out.
export function mood(probabilities, table = TABLE) {
  const known = Object.entries(probabilities).filter(([name, share]) => Object.hasOwn(table, name) && share > 0);
  const total = known.reduce((sum, [, share]) => sum + share, 0);
  const value = known.reduce((sum, [name, share]) => sum + (share / total) * table[name], 0);
  return total > 0 && total < Infinity ? Math.round(value * 1000) / 1000 : undefined;
}
