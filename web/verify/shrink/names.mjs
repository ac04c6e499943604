// Which property names a bundle has to keep.

import { resolve } from "node:path";
import { runInNewContext } from "node:vm";
import ts from "typescript";

/** The property names of everything that ECMAScript has of itself. */
export function ofLanguage() {
  const script = `
    const seen = new Set(), names = new Set();
    const walk = (v) => {
      if ((typeof v !== "object" && typeof v !== "function") || v === null || seen.has(v)) return;
      seen.add(v);
      walk(Object.getPrototypeOf(v));
      for (const name of Object.getOwnPropertyNames(v)) {
        names.add(name);
        const { value } = Object.getOwnPropertyDescriptor(v, name);
        walk(value);
      }
    };
    walk(globalThis);
    [...names, "get", "set", "value", "writable", "enumerable", "configurable"]`;
  return [...runInNewContext(script, undefined, {})];
}

/**
 * The names of all members of the interfaces that a file exports, however deep;
 * of the unions of strings that are named, the strings, which name members too.
 */
export function ofTypes(folder, files, unions) {
  const options = { target: ts.ScriptTarget.ES2020, module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler };
  const paths = files.map((f) => resolve(folder, f));
  const program = ts.createProgram(paths, { ...options, allowImportingTsExtensions: true, noEmit: true, strict: true, types: [] });
  const checker = program.getTypeChecker();
  const names = new Set();
  const seen = new Set();
  const walk = (type) => {
    if (seen.has(type)) return;
    seen.add(type);
    if (type.isUnionOrIntersection()) type.types.forEach(walk);
    if (checker.isArrayType(type)) checker.getTypeArguments(type).forEach(walk);
    for (const p of checker.getPropertiesOfType(type)) {
      if (p.declarations?.some((d) => program.isSourceFileDefaultLibrary(d.getSourceFile()))) continue;
      names.add(p.name);
      walk(checker.getTypeOfSymbol(p));
    }
  };
  for (const path of paths) {
    for (const s of checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(path)))) {
      if (unions.includes(s.name)) checker.getDeclaredTypeOfSymbol(s).types.forEach((t) => names.add(t.value));
      else if (s.flags & (ts.SymbolFlags.Interface | ts.SymbolFlags.Class)) walk(checker.getDeclaredTypeOfSymbol(s));
    }
  }
  return [...names];
}
