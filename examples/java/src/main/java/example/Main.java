package example;
public final class Main { public static void main(String[] a) { System.out.println(contactcenter.v1.ErrorsOuterClass.class); } }
