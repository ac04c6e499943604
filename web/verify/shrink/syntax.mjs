// Rewrites of a bundle's text that a minifier does not know to be safe.

import ts from "typescript";

/** Parses code and replaces the outermost of the [node, text] that find gives. */
function rewrite(code, find) {
  const file = ts.createSourceFile("bundle.js", code, ts.ScriptTarget.ES2022, true);
  const edits = [...find(file)].map(([node, text]) => [node.getStart(), node.end, text]);
  edits.sort((a, b) => a[0] - b[0] || b[1] - a[1]);
  let out = "";
  let at = 0;
  for (const [from, to, text] of edits) {
    if (from < at) continue;
    out += code.slice(at, from) + text;
    at = to;
  }
  return out + code.slice(at);
}

function* nodes(node) {
  yield node;
  const children = [];
  ts.forEachChild(node, (child) => void children.push(child));
  for (const child of children) yield* nodes(child);
}

const isBigInt = (node) => node.kind === ts.SyntaxKind.BigIntLiteral;
const valueOf = (node) => BigInt(node.text.slice(0, -1));

/**
 * BigInt literals, which ES2017 has not, become constants: made once and not in
 * every field operation. So do powers of two literals: an uploader may lower
 * "**" to Math.pow, which throws on BigInt.
 */
export function bigInts(code) {
  const constants = new Map();
  const name = (value) => {
    if (!constants.has(value)) constants.set(value, `n${value}$`);
    return constants.get(value);
  };
  const body = rewrite(code, function* (file) {
    for (const node of nodes(file)) {
      if (isBigInt(node)) yield [node, name(valueOf(node))];
      const power = ts.isBinaryExpression(node) && node.operatorToken.kind === ts.SyntaxKind.AsteriskAsteriskToken;
      if (power && isBigInt(node.left) && isBigInt(node.right)) yield [node, name(valueOf(node.left) ** valueOf(node.right))];
    }
  });
  const literal = (value) => `/* @__PURE__ */ BigInt(${value < 2n ** 53n ? value : `"0x${value.toString(16)}"`})`;
  // A large number near a power of two is shorter as the power and the rest.
  const shortest = (value) => {
    const bits = BigInt(value.toString(2).length);
    const near = [bits, bits - 1n]
      .map((k) => [k, value - (1n << k)])
      .find(([, rest]) => (rest < 0n ? -rest : rest) >> (bits / 2n + 1n) === 0n);
    if (value < 2n ** 53n || !near) return literal(value);
    const [k, rest] = near;
    return `(/* @__PURE__ */ BigInt(1) << /* @__PURE__ */ BigInt(${k})) ${rest < 0n ? "-" : "+"} ${literal(rest < 0n ? -rest : rest)}`;
  };
  return [...constants].map(([value, name]) => `const ${name} = ${shortest(value)};\n`).join("") + body;
}

/** Errors lose their texts. */
export function withoutTexts(code) {
  return rewrite(code, function* (file) {
    for (const node of nodes(file)) {
      if (ts.isNewExpression(node) && /^(Type|Range)?Error$/.test(node.expression.getText())) yield [node, "new Error()"];
    }
  });
}

/** Drops methods and accessors of classes whose names nothing else has. */
export function withoutUnused(code) {
  for (;;) {
    const shorter = rewrite(code, function* (file) {
      const named = new Set();
      const members = [];
      for (const node of nodes(file)) {
        if (ts.isMethodDeclaration(node) || ts.isAccessor(node)) {
          if (ts.isClassLike(node.parent) && ts.isIdentifier(node.name)) members.push(node);
        } else if (ts.isPropertyAccessExpression(node) || ts.isShorthandPropertyAssignment(node)) {
          named.add(node.name.text);
        } else if (ts.isBindingElement(node)) {
          named.add((node.propertyName || node.name).text);
        } else if (ts.isStringLiteralLike(node)) {
          named.add(node.text);
        }
      }
      for (const m of members) if (!named.has(m.name.text)) yield [m, ""];
    });
    if (shorter === code) return code;
    code = shorter;
  }
}

/** What the language gives and is used often is named once: Math.max, BigInt. */
export function shortNames(code) {
  const often = ["Math.max", "Math.min", "Math.floor", "BigInt", "Uint8Array", "Error"];
  const name = (text) => text.replace(".", "$") + "$";
  const body = rewrite(code, function* (file) {
    for (const node of nodes(file)) {
      const whole = !ts.isPropertyAccessExpression(node.parent || node) && (ts.isIdentifier(node) || ts.isPropertyAccessExpression(node));
      if (whole && often.includes(node.getText())) yield [node, name(node.getText())];
    }
  });
  return often.map((text) => `const ${name(text)} = ${text};\n`).join("") + body;
}

/** The bundle as one expression whose value has its exports. */
export function asScript(code, name) {
  const body = rewrite(code, function* (file) {
    for (const s of file.statements) {
      if (!ts.isExportDeclaration(s)) continue;
      const members = s.exportClause.elements.map((e) => `"${e.name.text}": ${(e.propertyName || e.name).text}`);
      yield [s, `return { ${members.join(", ")} };`];
    }
  });
  return `var ${name} = (() => {\n${body}\n})();`;
}
