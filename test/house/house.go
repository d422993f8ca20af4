// Package house holds the documents to the code: the contract's constants, examples and checks, and the glossary's words.
package house
